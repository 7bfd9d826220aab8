"""The measured-sensitivity allocation: what is sensitive keeps more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rlprune.allocate.profiles import profile_cuts, width_at
from rlprune.cache.store import Store
from rlprune.cost.budget import Allocation
from rlprune.evaluate.evaluator import Evaluator

EXPONENTS: Sequence[float] = (0.2, 0.3, 0.4, 0.5)

# Keeps the ratio of two scores finite when pruning costs nothing; a share of the mean sensitivity.
_NEGLIGIBLE = 0.01
_LEAST = 1e-12


@dataclass(frozen=True)
class Sensitivity:
    """Search score with one group alone cut to half, or one block alone removed.

    What a block is worth is on another scale than half a layer: means, and all that is measured
    against them, are over the groups of channels only.

    Attributes:
        scores: one finite score per group, higher = more sensitive; shape `(groups,)`.
        is_block: which groups are blocks; shape `(groups,)`.
    """

    scores: npt.NDArray[np.float64]
    is_block: npt.NDArray[np.bool_]

    @property
    def mean(self) -> float:
        """Mean score of a group of channels, kept away from zero."""
        channels = self.scores[~self.is_block]
        return max(float(channels.sum()) / max(1, len(channels)), _LEAST)

    @property
    def relative(self) -> npt.NDArray[np.float64]:
        """Scores over their mean, kept away from zero."""
        return np.maximum(self.scores, self.negligible) / self.mean

    @property
    def negligible(self) -> float:
        """A score difference that does not matter on this network, in units of the score."""
        return max(_NEGLIGIBLE * self.mean, _LEAST)

    def allocation(self, exponent: float) -> Allocation:
        """Kept fractions proportional to `relative ** exponent`, the largest being 1.

        All blocks stay: whether one goes is a decision for a search.
        """
        ratios = self.relative**exponent
        return np.where(self.is_block, 1.0, ratios / ratios[~self.is_block].max(initial=_LEAST))


def profile(evaluator: Evaluator, store: Store) -> Sensitivity:
    """Measure the sensitivity of every group, or look it up; one profile evaluation each."""
    graph = evaluator.graph
    halves = [(g, width_at(graph, g, 0.5)) for g in range(len(graph.groups))]
    return Sensitivity(profile_cuts(evaluator, store, halves), graph.is_block)
