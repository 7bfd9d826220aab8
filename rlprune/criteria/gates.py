"""Gates on units: numbers, 1 in the dense network, that scale what is read of a channel.

Molchanov et al. (CVPR 2019) put a gate after BatchNorm; removing a channel is closing it. To scale
what consumers read is to scale their weights along the input dimension, so no hook is needed, and
residual sums, concatenations, depthwise convolutions and activations in between need no care.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlprune.criteria.gradients import loss_at
from rlprune.graph.group_graph import ALWAYS_KEPT

if TYPE_CHECKING:
    from rlprune.calling import Inputs
    from rlprune.criteria.base import ChannelScores, Probe
    from rlprune.graph.group_graph import GroupGraph, Slice


class Gates:
    """One gate per unit of every group; tied channels (an atom, a head) share theirs.

    A group that no weight reads, such as queries and keys, whose product is an activation's, is
    gated where its first layer writes it: exact for that product, and before BatchNorm if there is
    any. Where both weights and activations read a channel, only the weights' part is gated. Blocks
    have no gate.

    Attributes:
        open: all gates at 1, shape `(gates,)`, to be differentiated by.
    """

    def __init__(self, probe: Probe) -> None:
        model = probe.model
        self._probe = probe
        self._tensors = {
            name: one.detach() for name, one in (*model.named_parameters(), *model.named_buffers())
        }
        first = next(iter(self._tensors.values()))
        self._units, count = _numbered(probe.graph)
        self._gated = [
            (piece.tensor, piece.dim, _gate_of(piece, self._units, count).to(first.device))
            for piece in _where(probe.graph)
            if piece.tensor in self._tensors  # of tied tensors only the first name is there
        ]
        self.open = torch.ones(count, dtype=first.dtype, device=first.device, requires_grad=True)

    def loss(self, gates: Tensor, inputs: Inputs, targets: Tensor) -> Tensor:
        """Return the loss on a batch with gates at other values, shape `(gates,)`."""
        # Positions that always stay have the number after the last gate.
        values = torch.cat([gates, gates.new_ones(1)])
        replaced: dict[str, Tensor] = {}
        for name, dim, index in self._gated:
            tensor = replaced.get(name, self._tensors[name])
            shape = [1] * tensor.ndim
            shape[dim] = -1
            replaced[name] = tensor * values[index].view(shape)
        return loss_at(self._probe, replaced, inputs, targets)

    def channels(self, values: Tensor) -> ChannelScores:
        """Give every root channel its gate's value, and blocks 0.

        Args:
            values: one per gate, shape `(gates,)`.
        """
        padded = torch.cat([values.detach().to("cpu", torch.float64), torch.zeros(1).double()])
        groups = self._probe.graph.groups
        return {g.name: padded[index] for g, index in zip(groups, self._units, strict=True)}


def _numbered(graph: GroupGraph) -> tuple[list[Tensor], int]:
    """Return the gate of every root channel per group, -1 for blocks, and how many there are."""
    numbers, count = [], 0
    for group in graph.groups:
        if group.kind == "block":
            numbers.append(torch.tensor([-1]))
            continue
        numbers.append(count + torch.from_numpy(group.atom_of))
        count += group.width // group.step
    return numbers, count


def _gate_of(piece: Slice, units: list[Tensor], always: int) -> Tensor:
    """Return the gate of every position along a dimension; `always` where it always stays."""
    return torch.cat(
        [
            torch.full((length,), always)
            if group == ALWAYS_KEPT
            else units[group][start : start + length]
            for group, start, length in piece.runs
        ]
    )


def _where(graph: GroupGraph) -> Iterator[Slice]:
    """Yield the dimensions to scale: what layers read, else what a group's first layer writes."""
    read = {run[0] for piece in graph.slices if piece.reads for run in piece.runs}
    unread = {group.name: i for i, group in enumerate(graph.groups) if i not in read}
    for piece in graph.slices:
        layer = piece.tensor.rpartition(".")[0] or piece.tensor
        if piece.reads:
            yield piece
        elif layer in unread and graph.tensors[piece.tensor].is_parameter:
            runs = tuple(
                run if run[0] == unread[layer] else (ALWAYS_KEPT, 0, run[2]) for run in piece.runs
            )
            yield piece.model_copy(update={"runs": runs})
