"""`rlprune export` as a user types it, on what apply runs leave behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch

from rlprune.cli import main
from rlprune.config import ApplySettings
from rlprune.data.registry import load_data
from rlprune.data.splits import DataSplits
from rlprune.graph.trace import trace
from rlprune.models.registry import load_model
from rlprune.surgery.plan import Plan
from rlprune.surgery.storage import load_pruned, save_pruned
from tests import nets
from tests.oracles import outputs

# Images that are not square, which a recipe cannot tell.
USER_FILE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def data():
    images = torch.randn(40, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    dataset = TensorDataset(images, torch.arange(40) % 3)
    return dataset, dataset

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, padding=1)
        self.classifier = nn.Linear(12 * 4 * 8, 3)

    def forward(self, x):
        x = self.conv(x).relu()
        return self.classifier(x.reshape(SIZE, -1))
"""


def make_run(run: Path, model: str, data: str, splits: DataSplits) -> Path:
    """Write what `rlprune export` reads of an apply run, without an agent."""
    loaded = load_model(model, splits)
    inputs = splits.search.tensors(2)[0]
    plan = Plan.uniform(trace(loaded.module, inputs), 0.5)
    save_pruned(run / "model", plan, plan.apply(loaded.module), loaded.recipe)
    settings = ApplySettings(agent="agent", model=model, data=data, out=run)
    (run / "config.json").write_text(settings.model_dump_json())
    (run / "result.json").write_text("{}")
    return run


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory, digits: DataSplits) -> Path:
    """A run on digits."""
    return make_run(tmp_path_factory.mktemp("runs") / "apply", "plain_cnn", "digits", digits)


def user_run(folder: Path, size: str) -> Path:
    """A run on a user's own data and network; `size` is how the network reshapes the batch."""
    file = folder / "mine.py"
    file.write_text(USER_FILE.replace("SIZE", size))
    data = f"{file}:data"
    return make_run(folder / "run", f"{file}:Net", data, load_data(data))


def fail(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must fail with exit code 2; return what it printed on standard error."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("format", "file"), [("onnx", "model.onnx"), ("torch-export", "model.pt2")]
)
def test_export_writes_a_checked_file_and_says_so(
    format: str,
    file: str,
    applied: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    main(["export", str(applied), "--format", format, "--out", str(out)])
    printed = capsys.readouterr().out
    for said in (file, f"{(out / file).stat().st_size:,}", "yes", "at batch 2", "at batch 3"):
        assert said in printed
    assert f"exported to {out / file}" in printed
    assert "warning" not in printed
    assert [path.name for path in out.iterdir()] == [file]


def test_an_exported_model_computes_what_the_saved_one_does(applied: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    main(["export", str(applied), "--format", "onnx", "--out", str(out)])
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    images = nets.images(9)
    (found,) = session.run(None, {"x": images.numpy()})
    expected = outputs(load_pruned(applied / "model"), images)
    torch.testing.assert_close(torch.as_tensor(found), expected, rtol=1e-4, atol=1e-5)


def test_the_model_folder_will_do_and_the_default_is_a_folder_in_it(
    applied: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copied"
    folder.mkdir()
    for path in (applied / "model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    main(["export", str(folder), "--format", "torch-export"])
    assert (folder / "export" / "model.pt2").is_file()


def test_a_users_own_data_gives_the_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = user_run(tmp_path, size="x.shape[0]")
    main(["export", str(run), "--format", "torch-export"])
    assert "warning" not in capsys.readouterr().out
    program = torch.export.load(run / "export" / "model.pt2").module()
    assert program(torch.zeros(5, 1, 4, 8)).shape == (5, 3)


def test_a_fixed_batch_size_is_warned_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = user_run(tmp_path, size="int(x.shape[0])")
    main(["export", str(run), "--format", "torch-export"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "warning: model.pt2 takes batches of 2 only: You marked batch as dynamic" in printed
    assert "at batch 3" not in printed


def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = fail(capsys, "export", str(tmp_path / "no"), "--format", "onnx")
    assert "no is missing; give the run folder of `rlprune apply`" in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("agent/agent.json", "a training, which leaves an agent and no model; type `rlprune apply"),
        ("one/model/plan.json", "no model itself; give a run inside it: "),
        ("result.json", "no model/plan.json; give the run folder of `rlprune apply`"),
    ],
)
def test_a_run_without_a_model(
    inside: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / inside).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / inside).write_text("{}")
    message = fail(capsys, "export", str(tmp_path), "--format", "onnx")
    assert said in message
    assert message.count("\n") == 1
    assert not (tmp_path / "export").exists()


def test_an_output_folder_that_exists(
    applied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("mine")
    words = ("export", str(applied), "--format", "torch-export", "--out", str(tmp_path))
    assert "already holds something; choose another --out" in fail(capsys, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_format_that_does_not_exist(applied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "onnx" in fail(capsys, "export", str(applied), "--format", "tflite")


def test_a_missing_extra(
    applied: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    words = ("export", str(applied), "--format", "onnx", "--out", str(tmp_path / "out"))
    assert 'pip install "rlprune[export]"' in fail(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_damaged_settings_of_a_run(
    applied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    for name in ("model/plan.json", "model/model.safetensors", "result.json"):
        (run / name).write_bytes((applied / name).read_bytes())
    settings = json.loads((applied / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**settings, "data": 3}))
    message = fail(capsys, "export", str(run), "--format", "torch-export")
    assert "config.json is damaged" in message
    assert message.count("\n") == 1
    assert not (run / "export").exists()
