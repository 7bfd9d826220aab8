"""A small VGG with BatchNorm and a hidden fully connected layer."""

from __future__ import annotations

from torch import Tensor, nn

from rlprune.models.plain_cnn import ConvNet

_STAGES = ((32, 32), (64, 64), (128, 128))
_HIDDEN = 128


class VGG(ConvNet):
    """Six convolutions in three stages, then two fully connected layers."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(_STAGES, in_channels, _HIDDEN)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(_HIDDEN, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(super().forward(x))
        return logits


def vgg(in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build the network for images of any size."""
    return VGG(in_channels, num_classes)
