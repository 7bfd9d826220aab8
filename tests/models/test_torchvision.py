from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from rlprune.data import load_data
from rlprune.errors import ModelError
from rlprune.models import build_model, load_model
from rlprune.models._torchvision import require_torchvision
from rlprune.models.registry import _torchvision_options


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


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_network_comes_without_auxiliary_heads(name: str) -> None:
    module = build_model(f"torchvision:{name}", in_channels=3, num_classes=4, image_size=96)
    output = module.train()(torch.randn(2, 3, 96, 96))
    assert isinstance(output, Tensor)
    assert output.shape == (2, 4)
    assert not [key for key, _ in module.named_modules() if "aux" in key.lower()]


def test_a_network_keeps_an_initialisation_that_torchvision_decided_on() -> None:
    models = require_torchvision().models
    assert _torchvision_options(models.vgg11, 32) == {}
    assert _torchvision_options(models.googlenet, 32) == {
        "aux_logits": False,
        "init_weights": False,
    }


def test_a_transformer_is_built_for_the_image_size_of_the_task() -> None:
    module = build_model("torchvision:vit_b_32", in_channels=3, num_classes=4, image_size=64)
    with torch.no_grad():
        assert module.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 4)


@pytest.mark.parametrize(
    ("name", "reason"), [("vit_b_32", "indivisible by patch size"), ("maxvit_t", "partition size")]
)
def test_an_image_size_that_a_transformer_cannot_divide_is_refused(name: str, reason: str) -> None:
    expected = rf"torchvision:{name} cannot be built for .*3 x 40 x 40 .*{reason}.*`--image-size`"
    with pytest.raises(ModelError, match=expected):
        build_model(f"torchvision:{name}", in_channels=3, num_classes=4, image_size=40)


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
