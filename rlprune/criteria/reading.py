"""Where the channels of groups can be seen while a network runs: in what layers read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from rlprune.criteria.base import ChannelScores
from rlprune.criteria.places import over_atoms, positions_of
from rlprune.errors import CriterionError
from rlprune.graph.group_graph import GroupGraph

_PARAMETRISED = ".parametrizations.weight"


@dataclass(frozen=True)
class Reading:
    """Channels of a group in the input, or in the output, of a linear or convolutional layer.

    Attributes:
        module: name of the layer.
        reads: whether the channels are in its input.
        group: index of the group.
        positions: channels of that tensor.
        roots: root channel of each; several positions may belong to one, as after flattening.
        width: number of root channels.
    """

    module: str
    reads: bool
    group: int
    positions: Tensor
    roots: Tensor
    width: int

    @property
    def counts(self) -> Tensor:
        """Positions of every root channel; shape `(width,)`."""
        return torch.bincount(self.roots, minlength=self.width)

    def folded(self, values: Tensor) -> Tensor:
        """Average over the positions of every root channel.

        Args:
            values: shape `(batch, positions)`.

        Returns:
            Shape `(batch, width)`, 0 where there are no positions.
        """
        sums = values.new_zeros(len(values), self.width)
        sums.index_add_(1, self.roots.to(values.device), values)
        return sums / self.counts.clamp_min(1).to(values.device)


Feature = Callable[[Tensor, Reading], Tensor]
"""From `(batch, positions, points)` in float64, a point being a pixel or a token, to one row per
sample."""


def readings_of(model: nn.Module, graph: GroupGraph) -> list[Reading]:
    """Return where the channels of every group can be seen: wherever a layer reads them.

    A group that no layer reads, as when the output is a mean over channels, is seen where layers
    write it.

    Raises:
        CriterionError: if a group is neither read nor written by a layer.
    """
    found = {reads: _found(model, graph, reads) for reads in (True, False)}
    read = {one.group for one in found[True]}
    readings = found[True] + [one for one in found[False] if one.group not in read]
    seen = {one.group for one in readings}
    for index, group in enumerate(graph.groups):
        if index not in seen and group.kind != "block":
            raise CriterionError(
                f"no linear or convolutional layer reads or writes group {group.name!r}, so its "
                "activations cannot be seen; take a criterion of weights, such as l2"
            )
    return readings


def read_by_layers(model: nn.Module, graph: GroupGraph) -> list[Reading]:
    """Return where linear and convolutional layers read the channels of groups."""
    return _found(model, graph, reads=True)


def _found(model: nn.Module, graph: GroupGraph, reads: bool) -> list[Reading]:
    modules, found = dict(model.named_modules()), []
    for piece in graph.slices:
        owner = _owner(piece.tensor)
        layer = modules.get(owner)
        if piece.reads != reads or not isinstance(layer, nn.Linear | _ConvNd):
            continue
        if piece.dim == _dim(layer, reads):
            for index, (positions, roots) in positions_of(piece.runs).items():
                width = graph.groups[index].width
                found.append(Reading(owner, reads, index, positions, roots, width))
    return found


def per_group(
    graph: GroupGraph, readings: Sequence[Reading], statistics: Sequence[Tensor]
) -> ChannelScores:
    """Average a statistic over all layers that read a channel, and over the channels of an atom.

    Args:
        graph: dependency groups; blocks score 0.
        readings: where the statistics are from.
        statistics: one per root channel of each reading; shape `(width,)`.
    """
    sums = [torch.zeros(group.width, dtype=torch.float64) for group in graph.groups]
    counts = [torch.zeros_like(one) for one in sums]
    for reading, statistic in zip(readings, statistics, strict=True):
        covered = reading.counts > 0
        sums[reading.group] += torch.where(covered, statistic, 0.0)
        counts[reading.group] += covered
    return {
        group.name: over_atoms(group, total, count)
        for group, total, count in zip(graph.groups, sums, counts, strict=True)
    }


def _owner(tensor: str) -> str:
    """The layer whose weight a tensor is, or is made of; empty for a bias."""
    name, _, attribute = tensor.rpartition(".")
    if attribute == "weight" or name.endswith(_PARAMETRISED):
        return name.removesuffix(_PARAMETRISED)
    return ""


def _dim(layer: nn.Linear | _ConvNd, reads: bool) -> int:
    """Dimension of a weight that stands for the layer's input or output channels."""
    return int(reads) if not isinstance(layer, _ConvTransposeNd) else int(not reads)
