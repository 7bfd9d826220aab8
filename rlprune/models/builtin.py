"""The networks that are known by name."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from rlprune.models.autoencoder import autoencoder
from rlprune.models.densenet import densenet
from rlprune.models.mlp import mlp
from rlprune.models.mobilenetv2 import mobilenetv2
from rlprune.models.plain_cnn import plain_cnn
from rlprune.models.resnet import resnet20, resnet56
from rlprune.models.vgg import vgg


class Builder(Protocol):
    """Makes an untrained network that fits a task."""

    def __call__(self, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
        """Build the network."""


BUILDERS: dict[str, Builder] = {
    "plain_cnn": plain_cnn,
    "vgg": vgg,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "mobilenetv2": mobilenetv2,
    "densenet": densenet,
    "mlp": mlp,
    "autoencoder": autoencoder,
}
BUILTIN_NAMES = tuple(BUILDERS)
