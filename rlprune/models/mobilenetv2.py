"""A small MobileNetV2 (Sandler et al., 2018): inverted residuals with depthwise convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

# Expansion, output channels, blocks, stride of the first block.
Stage = tuple[int, int, int, int]
_STAGES: tuple[Stage, ...] = ((1, 16, 1, 1), (4, 24, 2, 1), (4, 32, 3, 2), (4, 64, 2, 2))
_STEM, _LAST = 16, 256


def _conv_bn(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    return [convolution, nn.BatchNorm2d(out_channels)]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes agree.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        expansion: factor of the 1 x 1 convolution before the depthwise one; 1 has none.
        stride: of the depthwise convolution.
        kernel: size of the depthwise convolution, odd.
        has_shortcut: whether the input is added at all.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        stride: int,
        kernel: int = 3,
        has_shortcut: bool = True,
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*_conv_bn(in_channels, hidden, 1), nn.ReLU6()]
        layers += [*_conv_bn(hidden, hidden, kernel, stride, groups=hidden), nn.ReLU6()]
        layers += _conv_bn(hidden, out_channels, 1)
        self.layers = nn.Sequential(*layers)
        self.is_residual = has_shortcut and stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = self.layers(x)
        return x + out if self.is_residual else out


class MobileNetV2(nn.Module):
    """Stem, inverted residuals, a last 1 x 1 convolution and a linear classifier.

    Args:
        in_channels: of the images.
        num_classes: of the classifier.
        stages: expansion, output channels, blocks and stride of the first block of each.
        stem: channels of the first convolution.
        last: channels of the last one.
        kernel: size of the depthwise convolutions, odd.
        has_shortcuts: whether blocks are added to their inputs.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        stages: Sequence[Stage] = _STAGES,
        stem: int = _STEM,
        last: int = _LAST,
        kernel: int = 3,
        has_shortcuts: bool = True,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_conv_bn(in_channels, stem, 3), nn.ReLU6()]
        width = stem
        for expansion, out_width, blocks, first_stride in stages:
            for index in range(blocks):
                stride = first_stride if index == 0 else 1
                layers.append(
                    InvertedResidual(width, out_width, expansion, stride, kernel, has_shortcuts)
                )
                width = out_width
        layers += [*_conv_bn(width, last, 1), nn.ReLU6()]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return logits


def mobilenetv2(in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build the network for images of any size."""
    return MobileNetV2(in_channels, num_classes)
