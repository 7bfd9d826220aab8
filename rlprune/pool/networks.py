"""From a spec to a network, by the builders of the built-in networks."""

from __future__ import annotations

from torch import nn

from rlprune.models.densenet import DenseNet
from rlprune.models.mlp import MLP
from rlprune.models.mobilenetv2 import MobileNetV2
from rlprune.models.plain_cnn import ConvNet
from rlprune.models.resnet import ResNet
from rlprune.models.vgg import VGG
from rlprune.pool.specs import (
    DenseSpec,
    DepthwiseSpec,
    MLPSpec,
    PlainSpec,
    ResidualSpec,
    SampledSpec,
    VGGSpec,
)


def network(spec: SampledSpec, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build an untrained network.

    Args:
        spec: its architecture.
        in_channels: channels of the images.
        num_classes: outputs.
        image_size: height and width of the images.
    """
    match spec:
        case PlainSpec():
            return ConvNet(spec.stages, in_channels, num_classes, spec.kernels, spec.is_strided)
        case VGGSpec():
            counts = zip(spec.widths, spec.convolutions, strict=True)
            stages = [[width] * count for width, count in counts]
            return VGG(in_channels, num_classes, stages, spec.hidden, spec.kernels)
        case ResidualSpec():
            return ResNet(
                spec.blocks,
                in_channels,
                num_classes,
                spec.widths,
                spec.strides,
                spec.kernel,
                spec.inner,
            )
        case DenseSpec():
            return DenseNet(
                in_channels,
                num_classes,
                spec.stem,
                spec.growth,
                spec.layers,
                spec.kernel,
                spec.squeezed,
                spec.transition_kept,
            )
        case DepthwiseSpec():
            return MobileNetV2(
                in_channels,
                num_classes,
                spec.stages,
                spec.stem,
                spec.last,
                spec.kernel,
                spec.has_shortcuts,
            )
        case MLPSpec():
            return MLP(in_channels * image_size * image_size, num_classes, spec.hidden)
