from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from rlprune.data import DataSplits, load_data
from rlprune.errors import ModelError, UnknownNameError
from rlprune.models import build_model, load_model, rebuild

# The fixture imports timm after the shim, which rlprune.models has imported by then.
needs_timm = pytest.mark.usefixtures("timm")


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    reason = 'timm is not installed: pip install "rlprune[timm]"'
    module: ModuleType = pytest.importorskip("timm", reason=reason)
    return module


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return load_data("digits", image_size=32)


def build(name: str, in_channels: int = 3, image_size: int = 32) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"in_channels": in_channels, "num_classes": 4, "image_size": image_size}
    return build_model(f"timm:{name}", **sizes)


def images(in_channels: int = 3, image_size: int = 32) -> Tensor:
    return torch.randn(2, in_channels, image_size, image_size)


@needs_timm
def test_timm_can_be_imported_after_the_shim() -> None:
    code = "from rlprune.models._torchvision import require_timm; require_timm().list_models()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


@needs_timm
@pytest.mark.parametrize("in_channels", [1, 3, 5])
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_a_timm_network_takes_the_channels_and_the_classes_of_the_task(
    name: str, in_channels: int
) -> None:
    module = build(name, in_channels).train()
    assert module(images(in_channels)).shape == (2, 4)


@needs_timm
@pytest.mark.parametrize("image_size", [32, 64])
@pytest.mark.parametrize("name", ["test_vit", "levit_128s", "swin_tiny_patch4_window7_224"])
def test_a_network_with_a_fixed_grid_is_built_for_the_image_size_of_the_task(
    timm: ModuleType, name: str, image_size: int
) -> None:
    config = timm.get_pretrained_cfg(name)
    assert config.fixed_input_size
    assert config.input_size[-1] != image_size
    module = build(name, image_size=image_size).eval()
    with torch.no_grad():
        assert module(images(image_size=image_size)).shape == (2, 4)


@needs_timm
def test_a_size_that_patches_do_not_divide_is_refused_when_the_network_is_loaded() -> None:
    data = load_data("digits", image_size=40)
    with pytest.raises(ModelError, match=r"timm:test_vit .*40.*patch size"):
        load_model("timm:test_vit", data, require_trained=False)


@needs_timm
def test_what_timm_refuses_to_build_is_passed_on(
    timm: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, **options: object) -> None:
        raise ValueError(f"{name} cannot do {options['img_size']}\nin detail")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ModelError) as caught:
        build("test_vit")
    assert str(caught.value) == (
        "timm:test_vit cannot be built for images of 3 x 32 x 32 (test_vit cannot do 32); give "
        "another `--image-size` or another model"
    )


@needs_timm
def test_a_mistyped_name_is_answered_with_the_closest_ones_and_where_the_others_are(
    timm: ModuleType,
) -> None:
    with pytest.raises(UnknownNameError, match="unknown timm model 'resnet-18'; ") as caught:
        build("resnet-18")
    message = str(caught.value)
    assert "did you mean 'resnet18'?" in message
    assert f"any of the {len(timm.list_models())} names in timm.list_models()" in message
    assert len(message) < 500


@needs_timm
def test_a_name_of_weights_says_how_to_give_weights() -> None:
    with pytest.raises(ModelError, match="type `timm:resnet18` and `--weights FILE`"):
        build("resnet18.a1_in1k")


@needs_timm
def test_missing_weights_are_an_error(digits: DataSplits) -> None:
    with pytest.raises(ModelError, match="no trained weights for timm:test_resnet on digits-32"):
        load_model("timm:test_resnet", digits)


@needs_timm
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_timm_network_is_loaded_with_weights_and_built_again_from_its_recipe(
    name: str, digits: DataSplits, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    sizes = {"in_channels": 1, "num_classes": 10, "image_size": 32}
    trained = build_model(f"timm:{name}", **sizes).eval()
    torch.save(trained.state_dict(), path)
    loaded = load_model(f"timm:{name}", digits, weights=path)
    assert loaded.recipe == {"model": f"timm:{name}", **sizes}
    again = rebuild(loaded.recipe).eval()
    again.load_state_dict(loaded.module.state_dict())
    samples = images(in_channels=1)
    with torch.no_grad():
        assert torch.equal(again(samples), trained(samples))


def test_a_missing_timm_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ModelError, match=r'No module named \'timm\'.*pip install "rlprune\[timm\]'):
        build("test_resnet")


def test_built_in_models_work_without_timm() -> None:
    code = (
        "import sys; sys.modules['timm'] = None\n"
        "from rlprune.data import load_data; from rlprune.models import load_model\n"
        "load_model('mlp', load_data('digits'))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
