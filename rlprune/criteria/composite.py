"""Several criteria in one: a weighted sum of ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from rlprune.criteria.base import check_scores
from rlprune.criteria.normalise import by_rank
from rlprune.criteria.places import over_atoms
from rlprune.errors import CriterionError

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Criterion, Need, Probe

PRESETS: Mapping[str, Mapping[str, float]] = {
    "multi-metric": {"taylor": 1 / 3, "l2": 1 / 3, "activation-mean": 1 / 3},
    # before training, magnitudes are as they were drawn: what the loss would feel counts
    "multi-metric-early": {"snip": 0.8, "l2": 0.1, "activation-mean": 0.1},
    # near convergence gradients are noise
    "multi-metric-late": {"taylor": 0.2, "l2": 0.4, "activation-mean": 0.4},
}
"""Weights of magnitude, gradient and activation: at any time, early and late in training."""


class MultiMetric:
    """Weighted sum of the ranks that several criteria give within each group, in (0, 1].

    Ranks say nothing about other groups, so this is for local pruning and for groups whose widths
    something else decides.

    Args:
        name: in the registry.
        parts: criteria and their weights, >= 0; scaled to sum to 1, and 0 leaves a part out.

    Raises:
        CriterionError: if weights are negative, or none is positive.
    """

    def __init__(self, name: str, parts: Sequence[tuple[Criterion, float]]) -> None:
        total = sum(weight for _, weight in parts)
        if not 0 < total < math.inf or any(weight < 0 for _, weight in parts):
            given = {criterion.name: weight for criterion, weight in parts}
            raise CriterionError(
                f"criterion {name!r} needs weights >= 0 of which one is positive, got {given}"
            )
        self.name = name
        self._parts = [(one, weight / total) for one, weight in parts if weight > 0]
        self.needs: frozenset[Need] = frozenset().union(*(one.needs for one, _ in self._parts))

    def channels(self, probe: Probe) -> ChannelScores:
        """Return weighted sums of ranks; tied channels are ranked together, blocks score 0.

        Raises:
            CriterionError: if a part cannot be computed on the probe.
        """
        fused = {
            group.name: torch.zeros(group.width, dtype=torch.float64)
            for group in probe.graph.groups
        }
        for criterion, weight in self._parts:
            scores = criterion.channels(probe)
            check_scores(criterion, scores)
            for group in probe.graph.groups:
                if group.kind != "block":
                    ranks = by_rank(over_atoms(group, scores[group.name]))
                    fused[group.name] += weight * ranks
        return fused
