"""The heuristic: where searches and policies start, and what they must beat.

Powers of the sensitivity know nothing of costs and keep all blocks; sums of estimated losses know
nothing of how layers interact. Each is better on some networks, and one evaluation tells where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rlprune.allocate.reference import Reference, best_measured
from rlprune.allocate.sensitivity import EXPONENTS
from rlprune.cost.budget import inside_removed

if TYPE_CHECKING:
    from rlprune.problem import Problem


def sensitivity(problem: Problem) -> Reference:
    """Return the best power of the sensitivity by search score; four profile evaluations."""
    powers = [problem.sensitivity.allocation(exponent) for exponent in EXPONENTS]
    return best_measured(problem, powers)


def heuristic(problem: Problem) -> Reference:
    """Return the better of the sensitivity's powers and the knapsack of estimated losses.

    One profile evaluation more. Groups inside blocks that the knapsack removes have the share that
    the sensitivity gives them: it matters to whoever puts such a block back.
    """
    powers, widths = sensitivity(problem), problem.estimated_widths
    free = inside_removed(problem.graph, widths)
    allocation = np.where(free, powers.plan.widths, widths) / problem.graph.widths
    estimated = best_measured(problem, [allocation])
    return min(powers, estimated, key=lambda one: one.score)
