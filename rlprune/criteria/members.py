"""From single weights to channels: sums over everything that goes with a channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rlprune.graph.group_graph import GroupGraph, Slice


def summed_over_members(
    graph: GroupGraph,
    values: Mapping[str, Tensor],
    each: Callable[[Tensor], Tensor] | None = None,
    slices: Iterable[Slice] | None = None,
) -> dict[str, Tensor]:
    """Sum element-wise values over all that is removed with each root channel.

    Args:
        graph: dependency groups.
        values: `{tensor: values of its shape}`; tensors that are not named count nothing.
        each: what to sum of every element, in float64; the value itself by default.
        slices: dimensions to sum over, all of the graph's by default; each channel's share of a
            tensor is counted once per dimension that the channel controls.

    Returns:
        `{group: (width,) float64}`, on the CPU.
    """
    sums = [torch.zeros(group.width, dtype=torch.float64) for group in graph.groups]
    for piece in graph.slices if slices is None else slices:
        if piece.tensor not in values:
            continue
        value = values[piece.tensor].detach().to("cpu", torch.float64)
        value = value if each is None else each(value)
        per_position = value.movedim(piece.dim, 0).flatten(1).sum(1) if value.ndim > 1 else value
        offset = 0
        for group, start, length in piece.runs:
            if group >= 0:
                chunk = per_position[offset : offset + length]
                sums[group].index_add_(0, torch.arange(start, start + length), chunk)
            offset += length
    return {group.name: one for group, one in zip(graph.groups, sums, strict=True)}
