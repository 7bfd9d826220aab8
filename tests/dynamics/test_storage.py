from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from torch import nn

from rlprune.data import DataSplits
from rlprune.dynamics.storage import beside, read_dynamics, write_dynamics
from rlprune.errors import DynamicsError, RLPruneError
from rlprune.models import build_model, load_model
from tests.dynamics.training import WEIGHTS, record_of_a_training


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("record") / "net.dynamics.json"
    record_of_a_training(path)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_record_comes_back_the_same(tmp_path: Path) -> None:
    path, again = tmp_path / "a.json", tmp_path / "b.json"
    record_of_a_training(path)
    dynamics = read_dynamics(path)
    write_dynamics(again, dynamics)
    assert read_dynamics(again) == dynamics
    assert again.read_bytes() == path.read_bytes()
    assert tuple(dynamics.by_weight) == WEIGHTS


def test_a_new_process_reads_what_another_has_written(
    tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    path = tmp_path / "net.dynamics.json"
    record_of_a_training(path)
    code = (
        "import sys; from pathlib import Path; "
        "from rlprune.dynamics.storage import read_dynamics; "
        "print(read_dynamics(Path(sys.argv[1])).model_dump_json())"
    )
    done = run_python(code, path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(path.read_text())


def changed(document: dict[str, Any], *where: str | int, to: object) -> str:
    copy = json.loads(json.dumps(document))
    inside = copy
    for key in where[:-1]:
        inside = inside[key]
    inside[where[-1]] = to
    return json.dumps(copy)


DAMAGE: dict[str, tuple[tuple[str | int, ...], object, str]] = {
    "another version": (("version",), 2, "version"),
    "an unknown key": (("extra",), 1, "extra"),
    "a number out of range": (("layers", 0, "activations", "apoz"), 1.5, "apoz is 1.5"),
    "no number": (("layers", 0, "gradients", "snr"), None, "layers.0.gradients.snr"),
    "a negative count": (("steps",), -1, "steps"),
    "drift of a network that was not watched": (("watched",), False, "trajectory and drift"),
    "one weight twice": (("layers", 1, "weight"), "first.weight", "two layers have one weight"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_changed_file_is_refused_by_name(
    tmp_path: Path, document: dict[str, Any], damage: str
) -> None:
    where, to, message = DAMAGE[damage]
    path = tmp_path / "net.dynamics.json"
    path.write_text(changed(document, *where, to=to))
    with pytest.raises(DynamicsError, match=rf"net\.dynamics\.json is damaged .*{message}"):
        read_dynamics(path)


def test_a_truncated_file_is_refused_by_name(tmp_path: Path, document: dict[str, Any]) -> None:
    path, whole = tmp_path / "net.dynamics.json", json.dumps(document)
    for length in (0, 1, 100, len(whole) - 1):
        path.write_text(whole[:length])
        with pytest.raises(RLPruneError, match=r"net\.dynamics\.json is damaged") as caught:
            read_dynamics(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DynamicsError, match=r"cannot read .*net\.dynamics\.json"):
        read_dynamics(path)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "net.v1.safetensors"
    model = build_model("mlp", in_channels=1, num_classes=10, image_size=8)
    safetensors.torch.save_file(model.state_dict(), path)
    return path


def record_for(model: nn.Module, document: dict[str, Any]) -> dict[str, Any]:
    """The record of another network under the names of this one's weights."""
    names = [(name, list(one.shape)) for name, one in model.named_parameters() if one.ndim > 1]
    layer = document["layers"][0]
    layers = [{**layer, "weight": name, "shape": shape} for name, shape in names]
    return {**document, "layers": layers}


def test_a_model_is_loaded_with_the_record_beside_its_weights(
    digits: DataSplits, weights: Path, document: dict[str, Any]
) -> None:
    loaded = load_model("mlp", digits, weights=weights)
    assert loaded.dynamics is None
    assert beside(weights).name == "net.v1.dynamics.json"
    beside(weights).write_text(json.dumps(record_for(loaded.module, document)))
    found = load_model("mlp", digits, weights=weights).dynamics
    assert found is not None
    assert "classifier.weight" in found.by_weight
    assert load_model("mlp", digits).dynamics is None


def test_a_record_of_another_network_is_refused(
    digits: DataSplits, weights: Path, document: dict[str, Any]
) -> None:
    beside(weights).write_text(json.dumps(document))
    with pytest.raises(DynamicsError, match=r"another network: weight 'first\.weight'"):
        load_model("mlp", digits, weights=weights)
    model = build_model("mlp", in_channels=1, num_classes=10, image_size=8)
    other = record_for(model, document)
    other["layers"][0]["shape"] = [7, 7]
    beside(weights).write_text(json.dumps(other))
    with pytest.raises(DynamicsError, match=r"is \(7, 7\) there and the model has it as"):
        load_model("mlp", digits, weights=weights)
