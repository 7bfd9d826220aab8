"""What the layers of a group are, read from the traced operations and not from their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rlprune.graph.group_graph import Group, GroupGraph, Operation


@dataclass(frozen=True)
class Layers:
    """The layers that write or read the channels of a group, or that lie in a block.

    Attributes:
        producers: how many write the channels; of a block, how many lie in it.
        consumers: how many read the channels; 0 for a block.
        convolutions: share of convolutions.
        linears: share of linear layers.
        depthwise: whether a depthwise convolution is among them.
        normalised: whether a layer with one weight per channel, such as BatchNorm, is.
        log_positions: log2 of the output positions per image, mean over layers.
        log_kernel: log2 of the weights per pair of channels, mean over layers.
        depth: first operation in forward order, 0 = first, 1 = last of the network.
        written: names of the weights that write the channels, or that lie in the block.
        read: names of the weights that read the channels, or that lie in the block.
    """

    producers: int
    consumers: int
    convolutions: float
    linears: float
    depthwise: bool
    normalised: bool
    log_positions: float
    log_kernel: float
    depth: float
    written: tuple[str, ...]
    read: tuple[str, ...]


@dataclass(frozen=True)
class _Use:
    operation: Operation
    reads: bool


def layers_of(graph: GroupGraph) -> list[Layers]:
    """Return what every group consists of."""
    places: dict[str, int] = {}
    for index, operation in enumerate(graph.operations):
        places.setdefault(operation.weight or operation.module, index)
    return [
        _block(graph, group, places) if group.kind == "block" else _channels(graph, index, places)
        for index, group in enumerate(graph.groups)
    ]


def _channels(graph: GroupGraph, index: int, places: dict[str, int]) -> Layers:
    pieces = [s for s in graph.slices if any(run[0] == index for run in s.runs)]
    uses = [
        _Use(graph.operations[places[piece.tensor]], piece.reads)
        for piece in pieces
        if piece.tensor in places
    ]
    sides = [use.reads for use in uses if not use.operation.depthwise]
    first = min((places[use.operation.weight] for use in uses), default=0)
    tensors = [piece.tensor for piece in pieces]
    return _summary(graph, uses, tensors, first, (sides.count(False), sides.count(True)))


def _block(graph: GroupGraph, group: Group, places: dict[str, int]) -> Layers:
    inside = f"{group.members[0]}."
    found = [i for i, op in enumerate(graph.operations) if f"{op.module}.".startswith(inside)]
    weights = dict.fromkeys(graph.operations[i].weight for i in found)
    uses = [_Use(graph.operations[places[weight]], False) for weight in weights if weight]
    tensors = [name for name in graph.tensors if name.startswith(inside)]
    summary = _summary(graph, uses, tensors, min(found, default=0), (len(uses), 0))
    return replace(summary, read=summary.written)


def _summary(
    graph: GroupGraph,
    uses: Sequence[_Use],
    tensors: Sequence[str],
    first: int,
    counts: tuple[int, int],
) -> Layers:
    shapes = [graph.tensors[use.operation.weight].shape for use in uses]
    count = max(1, len(uses))
    return Layers(
        producers=counts[0],
        consumers=counts[1],
        convolutions=sum(len(shape) > 2 for shape in shapes) / count,
        linears=sum(len(shape) == 2 for shape in shapes) / count,
        depthwise=any(use.operation.depthwise for use in uses),
        normalised=any(_is_normalisation(graph, tensor) for tensor in tensors),
        log_positions=sum(float(np.log2(use.operation.positions)) for use in uses) / count,
        log_kernel=sum(float(np.log2(np.prod(shape[2:]))) for shape in shapes) / count,
        depth=first / max(1, len(graph.operations) - 1),
        written=tuple(dict.fromkeys(u.operation.weight for u in uses if not u.reads)),
        read=tuple(
            dict.fromkeys(u.operation.weight for u in uses if u.reads or u.operation.depthwise)
        ),
    )


def _is_normalisation(graph: GroupGraph, tensor: str) -> bool:
    name = tensor.rpartition(".")[2]
    return name in ("weight", "running_mean") and len(graph.tensors[tensor].shape) == 1
