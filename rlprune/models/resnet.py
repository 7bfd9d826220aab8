"""CIFAR ResNets (He et al., 2016): three stages of 16, 32 and 64 channels, projection shortcuts.

Other widths, strides, kernels and bottleneck blocks make the relatives that a pool samples.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

_WIDTHS = (16, 32, 64)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return a projection where the shapes disagree."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, kernel: int = 3) -> None:
        super().__init__()
        pad = kernel // 2
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=pad, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel, padding=pad, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to the shortcut."""
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 1 x 1 convolution to fewer channels, one on these, one back, and a shortcut."""

    def __init__(
        self, in_channels: int, inner: int, out_channels: int, stride: int, kernel: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, kernel, stride, padding=kernel // 2, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to the shortcut."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        return functional.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """A ResNet, of 6 n + 2 layers by default.

    Args:
        blocks_per_stage: n, or a number for each stage.
        in_channels: of the images.
        num_classes: of the classifier.
        widths: channels of the stages.
        strides: of the first block of each stage; 1, then 2, when not given.
        kernel: size of the convolutions, odd.
        inner: channels between the 1 x 1 convolutions of each stage's bottleneck blocks; basic
            blocks when not given.
    """

    def __init__(
        self,
        blocks_per_stage: int | Sequence[int],
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = _WIDTHS,
        strides: Sequence[int] | None = None,
        kernel: int = 3,
        inner: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        blocks: list[nn.Module] = []
        width = widths[0]
        counts = blocks_per_stage
        if isinstance(counts, int):
            counts = [counts] * len(widths)
        first = strides or [1] + [2] * (len(widths) - 1)
        for stage, (count, out_width) in enumerate(zip(counts, widths, strict=True)):
            for index in range(count):
                stride = first[stage] if index == 0 else 1
                if inner is None:
                    blocks.append(BasicBlock(width, out_width, stride, kernel))
                else:
                    blocks.append(Bottleneck(width, inner[stage], out_width, stride, kernel))
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
