"""A small VGG with BatchNorm and a hidden fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rlprune.models.plain_cnn import ConvNet

_STAGES = ((32, 32), (64, 64), (128, 128))
_HIDDEN = 128


class VGG(ConvNet):
    """Convolutions, six in three stages by default, then two fully connected layers.

    Args:
        in_channels: of the images.
        num_classes: of the classifier.
        stages: see `ConvNet`.
        hidden: width of the first fully connected layer.
        kernels: see `ConvNet`.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        stages: Sequence[Sequence[int]] = _STAGES,
        hidden: int = _HIDDEN,
        kernels: Sequence[int] | None = None,
    ) -> None:
        super().__init__(stages, in_channels, hidden, kernels)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(hidden, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(super().forward(x))
        return logits


def vgg(in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build the network for images of any size."""
    return VGG(in_channels, num_classes)
