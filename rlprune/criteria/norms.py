"""Group L2 norm: the default channel criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from rlprune.graph.group_graph import GroupGraph


def group_norms(model: nn.Module, graph: GroupGraph) -> dict[str, Tensor]:
    """Score every root channel by its L2 norm over all parameters that go with it.

    The sum runs over producers, normalisation layers and consumers, without cross-layer
    normalisation (DepGraph, Fang et al., CVPR 2023, calls this the group norm).

    Args:
        model: the dense network that `graph` was traced from.
        graph: its dependency groups.

    Returns:
        `{group: (width,) float64}`; higher = keep first.
    """
    squares = [torch.zeros(group.width, dtype=torch.float64) for group in graph.groups]
    parameters = dict(model.named_parameters())
    for piece in graph.slices:
        if piece.tensor not in parameters:
            continue
        values = parameters[piece.tensor].detach().to("cpu", torch.float64) ** 2
        per_position = values.movedim(piece.dim, 0).flatten(1).sum(1) if values.ndim > 1 else values
        offset = 0
        for group, start, length in piece.runs:
            if group >= 0:
                chunk = per_position[offset : offset + length]
                squares[group].index_add_(0, torch.arange(start, start + length), chunk)
            offset += length
    return {group.name: square.sqrt() for group, square in zip(graph.groups, squares, strict=True)}
