"""L1 and L2 norms over all coupled members; the group's L2 norm is the default criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rlprune.criteria.members import summed_over_members

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe, WeightScores
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
    squares = summed_over_members(graph, dict(model.named_parameters()), torch.square)
    return {name: square.sqrt() for name, square in squares.items()}


class L2:
    """The group's L2 norm; of a single weight its magnitude (Han et al., 2015)."""

    name = "l2"
    needs: frozenset[Need] = frozenset()

    def channels(self, probe: Probe) -> ChannelScores:
        """Return the L2 norm over all coupled members."""
        return group_norms(probe.model, probe.graph)

    def weights(self, probe: Probe) -> WeightScores:
        """Return magnitudes."""
        return magnitudes(probe)


class L1:
    """The group's L1 norm (Li et al., ICLR 2017, for single layers)."""

    name = "l1"
    needs: frozenset[Need] = frozenset()

    def channels(self, probe: Probe) -> ChannelScores:
        """Return the L1 norm over all coupled members."""
        return summed_over_members(probe.graph, dict(probe.model.named_parameters()), torch.abs)

    def weights(self, probe: Probe) -> WeightScores:
        """Return magnitudes."""
        return magnitudes(probe)


def magnitudes(probe: Probe) -> WeightScores:
    """Return the absolute value of every weight."""
    named = probe.model.named_parameters()
    return {name: one.detach().double().abs() for name, one in named if one.ndim > 1}
