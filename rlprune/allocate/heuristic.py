"""The heuristic: where searches and policies start, and what they must beat.

Powers of the sensitivity know nothing of costs and keep all blocks; sums of estimated losses know
nothing of how layers interact. Each is better on some networks, and one evaluation tells where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlprune.allocate.sensitivity import EXPONENTS
from rlprune.cost.budget import Allocation, inside_removed
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


def sensitivity(problem: Problem) -> Reference:
    """Return the best power of the sensitivity by search score; four profile evaluations."""
    return _best(problem, [problem.sensitivity.allocation(exponent) for exponent in EXPONENTS])


def heuristic(problem: Problem) -> Reference:
    """Return the better of the sensitivity's powers and the knapsack of estimated losses.

    One profile evaluation more. Groups inside blocks that the knapsack removes have the share that
    the sensitivity gives them: it matters to whoever puts such a block back.
    """
    powers, widths = sensitivity(problem), problem.estimated_widths
    free = inside_removed(problem.graph, widths)
    allocation = np.where(free, powers.plan.widths, widths) / problem.graph.widths
    estimated = _best(problem, [allocation])
    return min(powers, estimated, key=lambda one: one.measurement.score)


def _best(problem: Problem, allocations: Sequence[Allocation]) -> Reference:
    plans = [problem.decode(allocation) for allocation in allocations]
    measured = problem.evaluator.evaluate_many(plans, profile=True)
    best = min(range(len(plans)), key=lambda i: measured[i].score)
    return Reference(allocations[best], plans[best], measured[best])
