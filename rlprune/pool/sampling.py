"""Draw architectures of a family, sized for short training on small images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from rlprune.errors import UnknownNameError
from rlprune.pool.families import DRAWS
from rlprune.pool.networks import network
from rlprune.pool.specs import ResidualSpec, SampledSpec

FAMILIES = tuple(DRAWS)

_YARDSTICK = ResidualSpec(
    blocks=(3, 3, 3), widths=(16, 32, 64), strides=(1, 2, 2), kernel=3, inner=None
)

_SHARE = {"dense": 0.5, "depthwise": 0.25}
"""Of the yardstick's MACs: on a CPU these families take longer for each one."""

_LEAST_DEPTH = 4  # with fewer layers there is next to nothing to distribute
_CLASSES = 10  # of the networks whose cost is counted; the classifier is the least of it
_WIDEST_SCALE, _SCALE_STEP = 6.0, 1.25


def sample(family: str, data_shape: tuple[int, int, int], rng: np.random.Generator) -> SampledSpec:
    """Draw an architecture that costs at most about what ResNet-20 does on the same images.

    Depth, stride plan, kernels and the like are drawn first, then one factor for all widths, which
    shrinks until the network is cheap enough; where none is, or the network is too shallow,
    everything is drawn again.

    Args:
        family: one of `FAMILIES`.
        data_shape: channels, height and width of the images.
        rng: the only source of chance.

    Raises:
        UnknownNameError: for any other family.
    """
    if family not in DRAWS:
        raise UnknownNameError("family", family, FAMILIES)
    most = macs_of(_YARDSTICK, data_shape) * _SHARE.get(family, 1.0)
    while True:
        draw, scale = DRAWS[family](rng, data_shape[1]), _WIDEST_SCALE ** rng.uniform()
        narrow = draw(1.0)
        if narrow.depth >= _LEAST_DEPTH and macs_of(narrow, data_shape) <= most:
            break
    while macs_of(draw(scale), data_shape) > most:
        scale = max(1.0, scale / _SCALE_STEP)
    return draw(scale)


def macs_of(spec: SampledSpec, data_shape: tuple[int, int, int]) -> int:
    """Return the multiplications of one image's forward pass, of convolutions and linear layers."""
    channels, size, _ = data_shape
    total = 0

    def count(layer: nn.Module, _: object, out: Tensor) -> None:
        nonlocal total
        weight = layer.get_parameter("weight")
        total += out.numel() * weight[0].numel()

    with torch.random.fork_rng([]), torch.no_grad():
        model = network(spec, channels, _CLASSES, size).eval()
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(count)
        model(torch.zeros(1, *data_shape))
    return total
