"""CIFAR ResNets (He et al., 2016): three stages of 16, 32 and 64 channels, projection shortcuts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

_WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to the shortcut."""
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """A ResNet of 6 n + 2 layers.

    Args:
        blocks_per_stage: n.
        in_channels: of the images.
        num_classes: of the classifier.
        widths: channels of the stages.
    """

    def __init__(
        self,
        blocks_per_stage: int,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = _WIDTHS,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        blocks: list[nn.Module] = []
        width = widths[0]
        for stage, out_width in enumerate(widths):
            for index in range(blocks_per_stage):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(BasicBlock(width, out_width, stride))
                width = out_width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.blocks(functional.relu(self.bn(self.conv(x))))
        logits: Tensor = self.classifier(self.pool(x).flatten(1))
        return logits


def resnet20(in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build ResNet-20 for images of any size."""
    return ResNet(3, in_channels, num_classes)


def resnet56(in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build ResNet-56 for images of any size."""
    return ResNet(9, in_channels, num_classes)
