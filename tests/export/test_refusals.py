"""What cannot be exported is explained in one line, and nothing is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from rlprune.calling import Inputs
from rlprune.errors import ExportError, RunError, UnknownNameError
from rlprune.export import export_model
from tests import nets
from tests.export.networks import (
    IMAGES,
    TOKENS,
    Branching,
    Eigen,
    Fused,
    NotANumber,
    Nothing,
    Random,
)


@pytest.mark.parametrize(
    ("model", "format", "said"),
    [
        (Branching, "torch-export", "Branching must be tensor operations.*data-dependent"),
        (Eigen, "onnx", r"Eigen cannot be exported as onnx \(try torch-export\).*linalg_eig"),
        (Random, "torch-export", "model.pt2 of Random differs from torch by .* at batch 2"),
        (NotANumber, "torch-export", "NotANumber differs from torch by nan"),
        (Nothing, "torch-export", "Nothing returns str with no tensor"),
    ],
)
def test_what_cannot_be_exported_is_named_and_leaves_nothing(
    model: type[nn.Module],
    format: str,
    said: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ExportError, match=said) as caught:
        export_model(model(), IMAGES, tmp_path / "out", format)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ((IMAGES, TOKENS[:1]), r"\(\(2, 1, 8, 8\), \(1, 3\)\); give tensors that all have"),
        ((IMAGES, torch.tensor(1)), "same batch size"),
        ((IMAGES[:0], TOKENS[:0]), "1 or more"),
        ((IMAGES, 3), "give tensors"),
        ({}, "give tensors"),
        ((IMAGES, TOKENS, TOKENS), "Fused does not take inputs of shape"),
        ({"image": IMAGES, "token": TOKENS}, "unexpected keyword argument 'token'"),
    ],
)
def test_a_wrong_example_is_explained(example: Inputs, said: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=said):
        export_model(Fused(), example, tmp_path / "out", "torch-export")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'onnx'"):
        export_model(nets.build("flattened"), IMAGES, tmp_path / "out", "onx")


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(RunError, match="already holds something"):
        export_model(nets.build("flattened"), IMAGES, tmp_path, "torch-export")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_says_what_to_install(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError) as caught:
        export_model(nets.build("flattened"), IMAGES, tmp_path / "out", "onnx")
    assert f"needs {package}" in str(caught.value)
    assert 'pip install "rlprune[export]"' in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    export_model(nets.build("flattened"), IMAGES, tmp_path / "out", "torch-export")
