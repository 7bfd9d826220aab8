"""A small DenseNet (Huang et al., 2017): every layer reads all that came before it in its block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_STEM, _GROWTH, _LAYERS = 24, 12, (6, 6, 6)


class DenseLayer(nn.Module):
    """BatchNorm, ReLU and a convolution whose output is appended to its input.

    Args:
        in_channels: of the features so far.
        growth: channels that are appended.
        kernel: size of the convolution, odd.
        squeezed: channels that a 1 x 1 convolution leaves before it; 0 has none.
    """

    def __init__(self, in_channels: int, growth: int, kernel: int, squeezed: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.squeeze: nn.Module = nn.Identity()
        if squeezed:
            self.squeeze = nn.Sequential(
                nn.Conv2d(in_channels, squeezed, 1, bias=False),
                nn.BatchNorm2d(squeezed),
                nn.ReLU(),
            )
        self.conv = nn.Conv2d(
            squeezed or in_channels, growth, kernel, padding=kernel // 2, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Append the new features."""
        new = self.conv(self.squeeze(functional.relu(self.bn(x))))
        return torch.cat([x, new], dim=1)


class Transition(nn.Sequential):
    """Fewer channels, and half the image, between two blocks."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.AvgPool2d(2),
        )


class DenseNet(nn.Module):
    """Dense blocks with transitions between them.

    Args:
        in_channels: of the images.
        num_classes: of the classifier.
        stem: channels of the first convolution.
        growth: channels that each layer appends.
        layers: of each block.
        kernel: size of the convolutions, odd.
        squeezed: channels of the 1 x 1 convolution in each layer; 0 has none.
        transition_kept: fraction of the channels that a transition leaves, in (0, 1].
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        stem: int = _STEM,
        growth: int = _GROWTH,
        layers: Sequence[int] = _LAYERS,
        kernel: int = 3,
        squeezed: int = 0,
        transition_kept: float = 0.5,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        width = stem
        for block, count in enumerate(layers):
            if block > 0:
                narrow = int(width * transition_kept)
                blocks.append(Transition(width, narrow))
                width = narrow
            for _ in range(count):
                blocks.append(DenseLayer(width, growth, kernel, squeezed))
                width += growth
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(width)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = functional.relu(self.bn(self.blocks(self.conv(x))))
        logits: Tensor = self.classifier(self.pool(x).flatten(1))
        return logits


def densenet(in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build the network for images of any size."""
    return DenseNet(in_channels, num_classes)
