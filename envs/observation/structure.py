"""What a group is: its kind, the layers that it runs through, its size."""

from __future__ import annotations

import numpy as np

from rlprune.envs.observation.feature import Column, Feature, flag, log4, share
from rlprune.envs.observation.layers import Layers
from rlprune.graph.group_graph import GroupGraph

STRUCTURE: tuple[Feature, ...] = (
    flag("block", "1 for a residual block, which stays or goes as a whole; 0 for channels"),
    share("convolution", "convolutions among the layers of the group"),
    flag("depthwise", "1 if one of its layers is a depthwise convolution"),
    share("linear", "linear layers among the layers of the group"),
    log4("producers", "layers that produce the channels, or that lie in the block"),
    log4("consumers", "layers that read these channels"),
    flag("normalised", "1 if a layer with one weight per channel, such as BatchNorm, is in it"),
    log4("tied", "channels that stay or go together, such as those of a head"),
    log4("width", "channels / 32; 0 for a block"),
    log4("positions", "output positions per image / 64, mean of the logs over its layers"),
    log4("kernel", "weights per pair of channels, mean of the logs over its layers"),
    share("depth", "first operation of the group in forward order, 0 = first, 1 = last of all"),
    share("floor", "channels at the floor"),
)
"""Of a group. Its layers are those that write or read its channels, or that lie in the block."""


def structure(graph: GroupGraph, layers: list[Layers]) -> list[Column]:
    """Return a column for each of `STRUCTURE`."""
    roles, geometry = np.split(np.array([_of_layers(one) for one in layers]).T, [6])
    return [
        graph.is_block.astype(float),
        *roles,
        np.log2(graph.steps) / 2,
        np.where(graph.is_block, 0.0, np.log2(graph.widths / 32) / 2),
        *geometry,
        graph.floors / graph.widths,
    ]


def _of_layers(layers: Layers) -> tuple[float, ...]:
    return (
        layers.convolutions,
        float(layers.depthwise),
        layers.linears,
        float(np.log2(max(1, layers.producers))) / 2,
        float(np.log2(max(1, layers.consumers))) / 2,
        float(layers.normalised),
        (layers.log_positions - 6) / 2,
        layers.log_kernel / 2,
        layers.depth,
    )
