"""Filter pruning via geometric median (He et al., CVPR 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rlprune.criteria.places import positions_of

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe


class FPGM:
    """Sum of the distances to the other filters, over all layers that write the group.

    A filter near the geometric median of its layer is one that the others can replace. Only
    weights count: biases, normalisation layers and consumers say nothing about a filter. Channels
    that no weight writes score 0. (torch-pruning's criterion of this name measures distances of
    squared weights, for which a filter and its negative are the same.)
    """

    name = "fpgm"
    needs: frozenset[Need] = frozenset()

    def channels(self, probe: Probe) -> ChannelScores:
        """Return sums of Euclidean distances."""
        groups = probe.graph.groups
        tensors = dict(probe.model.named_parameters())
        sums = [torch.zeros(group.width, dtype=torch.float64) for group in groups]
        for piece in probe.graph.slices:
            if piece.reads or piece.tensor not in tensors or tensors[piece.tensor].ndim < 2:
                continue
            weight = tensors[piece.tensor].detach().to("cpu", torch.float64)
            filters = weight.movedim(piece.dim, 0).flatten(1)
            for group, (positions, roots) in positions_of(piece.runs).items():
                some = filters[positions]
                sums[group].index_add_(0, roots, torch.cdist(some, some).sum(1))
        return {group.name: one for group, one in zip(groups, sums, strict=True)}
