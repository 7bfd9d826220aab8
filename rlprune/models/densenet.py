"""A small DenseNet (Huang et al., 2017): every layer reads all that came before it in its block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_STEM, _GROWTH, _BLOCKS, _LAYERS = 24, 12, 3, 6


class DenseLayer(nn.Module):
    """BatchNorm, ReLU and a convolution whose output is appended to its input."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, _GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Append the new features."""
        return torch.cat([x, self.conv(functional.relu(self.bn(x)))], dim=1)


class Transition(nn.Sequential):
    """Halve the channels and the image between two blocks."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.AvgPool2d(2),
        )


class DenseNet(nn.Module):
    """Three dense blocks with transitions between them."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, _STEM, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        width = _STEM
        for block in range(_BLOCKS):
            if block > 0:
                layers.append(Transition(width, width // 2))
                width //= 2
            for _ in range(_LAYERS):
                layers.append(DenseLayer(width))
                width += _GROWTH
        self.blocks = nn.Sequential(*layers)
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
