"""The measured-sensitivity allocation: the heuristic that every search must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rlprune.cost.budget import Allocation, Budget
from rlprune.evaluate.evaluator import Evaluator, Measurement
from rlprune.progress import track
from rlprune.surgery.plan import Plan

EXPONENTS: Sequence[float] = (0.2, 0.3, 0.4, 0.5)

# Keeps the ratio of two scores finite when pruning costs nothing; a share of the mean sensitivity.
_NEGLIGIBLE = 0.01


@dataclass(frozen=True)
class Sensitivity:
    """Search score with one group alone cut to half.

    Attributes:
        scores: one score per group in forward order, higher = more sensitive; shape `(groups,)`.
    """

    scores: npt.NDArray[np.float64]

    @property
    def relative(self) -> npt.NDArray[np.float64]:
        """Scores over their mean, kept away from zero."""
        return np.maximum(self.scores, self.negligible) / max(float(self.scores.mean()), 1e-12)

    @property
    def negligible(self) -> float:
        """A score difference that does not matter on this network, in units of the score."""
        return max(_NEGLIGIBLE * float(self.scores.mean()), 1e-12)

    def allocation(self, exponent: float) -> Allocation:
        """Kept fractions proportional to `relative ** exponent`, the largest being 1."""
        ratios = self.relative**exponent
        return np.asarray(ratios / ratios.max())


@dataclass(frozen=True)
class Reference:
    """The heuristic's allocation for one budget, with its plan and measurement."""

    allocation: Allocation
    exponent: float
    plan: Plan
    measurement: Measurement


def profile(evaluator: Evaluator) -> Sensitivity:
    """Measure the sensitivity of every group; one profile evaluation each."""
    graph = evaluator.graph
    scores = []
    for g in track(range(len(graph.groups)), "measuring sensitivity"):
        widths = graph.widths.copy()
        half = graph.widths[g] // (2 * graph.steps[g]) * graph.steps[g]
        widths[g] = max(half, graph.floors[g])
        plan = Plan.from_widths(graph, widths)
        scores.append(evaluator.evaluate(plan, profile=True).score)
    finite = np.nan_to_num(
        np.array(scores), posinf=max((s for s in scores if np.isfinite(s)), default=1.0)
    )
    return Sensitivity(finite)


def reference(
    evaluator: Evaluator, sensitivity: Sensitivity, budget: Budget, *, latency: bool
) -> Reference:
    """Return the best of the four exponents by search score; four profile evaluations."""
    candidates = []
    for exponent in EXPONENTS:
        allocation = sensitivity.allocation(exponent)
        plan = Plan.from_widths(evaluator.graph, budget.decode(evaluator.graph, allocation))
        measurement = evaluator.evaluate(plan, profile=True)
        candidates.append(Reference(allocation, exponent, plan, measurement))
    best = min(candidates, key=lambda c: c.measurement.score)
    timed = evaluator.evaluate(best.plan, latency=latency, profile=True)
    return Reference(best.allocation, best.exponent, best.plan, timed)
