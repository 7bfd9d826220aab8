"""An allocation that was decoded and measured: what others are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlprune.cost.budget import Allocation
from rlprune.evaluate.evaluator import Measurement
from rlprune.surgery.plan import Plan

if TYPE_CHECKING:
    from rlprune.problem import Problem


@dataclass(frozen=True)
class Reference:
    """An allocation for one budget, with its plan and measurement."""

    allocation: Allocation
    plan: Plan
    measurement: Measurement

    @property
    def score(self) -> float:
        """The search score, a loss."""
        return self.measurement.score


def best_measured(problem: Problem, allocations: Sequence[Allocation]) -> Reference:
    """Return the best of some allocations by search score; one profile evaluation each."""
    plans = [problem.decode(allocation) for allocation in allocations]
    measured = problem.profile(plans)
    best = min(range(len(plans)), key=lambda i: measured[i].score)
    return Reference(allocations[best], plans[best], measured[best])
