from __future__ import annotations

import pytest
import torch
from torch import nn

from rlprune.data import load_data
from rlprune.models import BUILTIN_NAMES, build_model, load_model

CLASSIFIERS = [name for name in BUILTIN_NAMES if name != "autoencoder"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_every_network_fits_every_image_size_and_number_of_channels(name: str) -> None:
    for image_size in (8, 9, 14, 28, 33, 64):
        for channels in (1, 3):
            module = build_model(
                name, in_channels=channels, num_classes=7, image_size=image_size
            ).eval()
            images = torch.zeros(2, channels, image_size, image_size)
            with torch.no_grad():
                output = module(images)
            assert output.shape == (images.shape if name == "autoencoder" else (2, 7))


@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_every_network_has_gradients_everywhere_and_only_convolutions_that_can_be_pruned(
    name: str,
) -> None:
    module = build_model(name, in_channels=1, num_classes=5, image_size=8)
    module(torch.randn(4, 1, 8, 8)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.groups in (1, layer.in_channels)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_shipped_digits_weights_classify_unseen_digits(name: str) -> None:
    data = load_data("digits")
    images, targets = data.test.tensors()
    module = load_model(name, data).module
    assert next(module.parameters()).dtype is torch.float32
    with torch.no_grad():
        accuracy = (module(images).argmax(dim=1) == targets).float().mean()
    assert accuracy >= 0.95


def test_the_shipped_autoencoder_reconstructs_unseen_digits() -> None:
    data = load_data("digits")
    images, _ = data.test.tensors()
    with torch.no_grad():
        error = (load_model("autoencoder", data).module(images) - images).square().mean()
    peak = images.max() - images.min()
    assert 10 * torch.log10(peak.square() / error) >= 24
