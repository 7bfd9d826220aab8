from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from rlprune.data import DataSplits, load_data
from rlprune.errors import ModelError, UnknownNameError
from rlprune.models import build_model, load_model, rebuild
from rlprune.models._weightfile import shipped


def mlp_weights() -> dict[str, Tensor]:
    return build_model("mlp", in_channels=1, num_classes=10, image_size=8).state_dict()


def save(path: Path, state: dict[str, Tensor]) -> Path:
    safetensors.torch.save_file(state, path)
    return path


def test_a_mistyped_name_is_answered_with_the_closest_one(digits: DataSplits) -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'resnet2'; did you mean 'resnet20'"):
        load_model("resnet2", digits)
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18'"):
        load_model("torchvision:resnet-18", digits)


def test_missing_weights_say_what_ships_and_how_to_train(digits: DataSplits) -> None:
    small = load_data("digits", image_size=10)
    with pytest.raises(ModelError, match="no trained weights for vgg on digits-10") as caught:
        load_model("vgg", small)
    message = str(caught.value)
    assert "resnet20 on digits-8" in message
    assert (
        "`python scripts/train_dense.py --model vgg --data digits --image-size 10 "
        "--out FILE.safetensors`" in message
    )
    assert load_model("vgg", small, require_trained=False).name == "vgg"


def test_all_that_ships_is_listed_by_model_and_task() -> None:
    assert {"mlp on digits-8", "resnet20 on fashion-mnist-14"} <= set(shipped())


def test_a_model_is_loaded_in_evaluation_mode_with_a_recipe_that_builds_it_again(
    digits: DataSplits,
) -> None:
    loaded = load_model("resnet20", digits)
    assert not loaded.module.training
    recipe = json.loads(json.dumps(loaded.recipe))
    assert recipe == {"model": "resnet20", "in_channels": 1, "num_classes": 10, "image_size": 8}
    again = rebuild(recipe)
    again.load_state_dict(loaded.module.state_dict())


@pytest.mark.parametrize(
    "recipe", [{}, {"model": "mlp", "in_channels": 1, "num_classes": "10", "image_size": 8}]
)
def test_a_damaged_recipe_is_refused(recipe: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=r"recipe .* is damaged"):
        rebuild(recipe)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "wrapped.pt"])
def test_weights_are_read_from_every_kind_of_file(
    tmp_path: Path, digits: DataSplits, name: str
) -> None:
    state, path = mlp_weights(), tmp_path / name
    if path.suffix == ".safetensors":
        save(path, {key: value.half() for key, value in state.items()})
    else:
        torch.save({"state_dict": state, "epoch": 3} if "wrapped" in name else state, path)
    module = load_model("mlp", digits, weights=path).module
    for key, value in module.state_dict().items():
        assert value.dtype is state[key].dtype
        torch.testing.assert_close(value, state[key], rtol=1e-3, atol=1e-3)


def test_a_missing_file_or_an_unknown_ending_is_refused(tmp_path: Path, digits: DataSplits) -> None:
    with pytest.raises(ModelError, match="there is no file"):
        load_model("mlp", digits, weights=tmp_path / "none.pth")
    with pytest.raises(ModelError, match=r"none of the endings \.safetensors, \.pth, \.pt"):
        load_model("mlp", digits, weights=tmp_path / "weights.bin")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_truncated_file_is_refused_in_one_line(
    tmp_path: Path, digits: DataSplits, name: str
) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save(path, mlp_weights())
    else:
        torch.save(mlp_weights(), path)
    whole = path.read_bytes()
    for length in (0, 1, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="cannot be read") as caught:
            load_model("mlp", digits, weights=path)
        assert "\n" not in str(caught.value)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, digits: DataSplits) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"payload": Payload(marker)}, path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_model("mlp", digits, weights=path)
    assert not marker.exists()


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, digits: DataSplits) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="holds no state dict"):
        load_model("mlp", digits, weights=tmp_path / "list.pth")


def test_weights_of_another_architecture_name_the_first_difference(
    tmp_path: Path, digits: DataSplits
) -> None:
    state = mlp_weights()
    lacking = {key: value for key, value in state.items() if key != "classifier.bias"}
    with pytest.raises(ModelError, match=r"lacks 'classifier.bias' \(1 such weights\)"):
        load_model("mlp", digits, weights=save(tmp_path / "a.safetensors", lacking))
    extra = {**state, "extra": torch.zeros(1)}
    with pytest.raises(ModelError, match="has, and the model has not, 'extra'"):
        load_model("mlp", digits, weights=save(tmp_path / "b.safetensors", extra))
    state["classifier.bias"] = torch.zeros(3)
    with pytest.raises(ModelError, match=r"'classifier.bias' is 3 and the model's is 10"):
        load_model("mlp", digits, weights=save(tmp_path / "c.safetensors", state))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, digits: DataSplits, value: float
) -> None:
    state = mlp_weights()
    state["layers.3.weight"][0, 0] = value
    with pytest.raises(ModelError, match=r"NaN or infinity in 'layers\.3\.weight'"):
        load_model("mlp", digits, weights=save(tmp_path / "w.safetensors", state))


FACTORY = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def large():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))

def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

def nothing():
    return None

def broken():
    raise KeyError("no checkpoint")

class Silent(nn.Module):
    def forward(self, x):
        return {"tokens": x.long()}

class Pair(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10], x
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(FACTORY)
    return path


def test_a_factory_in_a_file_returns_a_trained_model_itself(
    user_file: Path, digits: DataSplits
) -> None:
    spec = f"{user_file}:make"
    loaded = load_model(spec, digits)
    assert loaded.name == spec
    assert len(list(rebuild(loaded.recipe).parameters())) == 2
    weights = {"1.weight": torch.zeros(10, 64), "1.bias": torch.ones(10)}
    path = save(user_file.with_name("w.safetensors"), weights)
    filled = load_model(spec, digits, weights=path).module
    assert torch.equal(filled(torch.randn(1, 1, 8, 8)), torch.ones(1, 10))


def test_a_model_may_return_more_than_its_logits(user_file: Path, digits: DataSplits) -> None:
    assert load_model(f"{user_file}:Pair", digits).name == f"{user_file}:Pair"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "returned NoneType; return a torch.nn.Module"),
        ("broken", "failed with KeyError: 'no checkpoint'"),
        ("large", "does not fit digits-8: a forward pass failed with RuntimeError: mat1 and mat2"),
        ("narrow", "has 2 outputs and digits-8 10 classes"),
        ("Silent", "returns dict with no floating-point tensor in it; return a tensor"),
        ("mak", "did you mean 'make'"),
    ],
)
def test_a_factory_that_does_not_fit_gets_one_line_that_names_the_cause(
    user_file: Path, digits: DataSplits, name: str, message: str
) -> None:
    with pytest.raises((ModelError, UnknownNameError), match=message) as caught:
        load_model(f"{user_file}:{name}", digits)
    assert "\n" not in str(caught.value)
