"""AMC's layer state (He et al., ECCV 2018), for groups of channels instead of layers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch.nn.modules.conv import _ConvNd

from rlprune.envs.observation.feature import Feature, share
from rlprune.graph.group_graph import Operation
from rlprune.problem import Problem


def _scaled(name: str, meaning: str) -> Feature:
    return Feature(name, meaning, "0 = least, 1 = most of the network", 0.0, 1.0)


AMC_STATE: tuple[Feature, ...] = (
    _scaled("index", "place in the walk"),
    _scaled("type", "0 for a convolution, 1 for a linear layer, 2 for a block"),
    _scaled("channels_in", "input channels of the layer"),
    _scaled("channels_out", "output channels of the layer"),
    _scaled("stride", "of the layer; 0 where it is not a convolution"),
    _scaled("kernel", "size of the kernel, 1 of a linear layer"),
    _scaled("weights", "number of weights of the layer"),
    share("reduced", "share of the cost that the decisions so far have saved"),
    share("rest", "share of the cost that the groups after this one can still save"),
    share("previous_action", "kept fraction of the group before, after the wall; 1 at the start"),
)
"""Every entry of the observation, in order, all in [0, 1]. The layer is the first one that produces
the group's channels, or the first one in the block. The first seven are min-max normalised over the
groups of the one network; the cost is that of the budget, the largest share where it has several
limits."""


def layer_states(problem: Problem, order: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the entries that do not change during a walk; shape `(groups, 7)`, in walk order."""
    rows = [[float(i), *_layer(problem, int(group))] for i, group in enumerate(order)]
    states = np.array(rows)
    least, spread = states.min(axis=0), np.ptp(states, axis=0)
    return np.asarray((states - least) / np.where(spread > 0, spread, 1.0))


def _layer(problem: Problem, index: int) -> tuple[float, ...]:
    operation = _operation(problem, index)
    is_block = bool(problem.graph.is_block[index])
    if operation is None:
        return (2.0 if is_block else 1.0, 0.0, float(problem.graph.widths[index]), 0.0, 1.0, 0.0)
    shape = problem.graph.tensors[operation.weight].shape
    module = problem.evaluator.model.get_submodule(operation.module)
    return (
        2.0 if is_block else float(len(shape) == 2),
        float(shape[1]) if len(shape) > 1 else 0.0,
        float(shape[0]),
        float(module.stride[0]) if isinstance(module, _ConvNd) else 0.0,
        float(shape[2]) if len(shape) > 2 else 1.0,
        float(math.prod(shape)),
    )


def _operation(problem: Problem, index: int) -> Operation | None:
    """Return the first operation with a weight that produces the channels or lies in the block."""
    graph = problem.graph
    group = graph.groups[index]
    produced = {
        piece.tensor
        for piece in graph.slices
        if not piece.reads and any(run[0] == index for run in piece.runs)
    }
    for operation in graph.operations:
        inside = f"{operation.module}.".startswith(f"{group.members[0]}.")
        if operation.weight and (inside if group.kind == "block" else operation.weight in produced):
            return operation
    return None
