from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch

from rlprune.data import load_data
from rlprune.errors import ModelError
from rlprune.models import build_model, load_model


def test_torchvision_can_be_imported_after_the_shim() -> None:
    code = (
        "import rlprune.models._torchvision, torchvision.ops; "
        "import torch; torch.ops.torchvision.nms"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_a_torchvision_network_is_built_with_the_classes_of_the_task() -> None:
    module = build_model("torchvision:resnet18", in_channels=3, num_classes=4, image_size=32).eval()
    with torch.no_grad():
        assert module(torch.zeros(1, 3, 32, 32)).shape == (1, 4)


def test_a_torchvision_network_refuses_grey_images() -> None:
    with pytest.raises(ModelError, match="takes images of 3 channels and the data has 1"):
        load_model("torchvision:resnet18", load_data("digits"))


def test_a_missing_torchvision_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ModelError, match=r"No module named 'torchvision'.*pip install torchvision"):
        build_model("torchvision:resnet18", in_channels=3, num_classes=4, image_size=32)


def test_built_in_models_and_digits_work_without_torchvision() -> None:
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from rlprune.data import load_data; from rlprune.models import load_model\n"
        "load_model('mlp', load_data('digits'))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
