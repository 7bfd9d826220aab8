"""Fewest parameters at equal MACs: widths that leave what is left of a network easy to train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rlprune.problem import Problem
    from rlprune.surgery.plan import Plan

DRAWS = 200
SPREAD = 0.5


def fewest_params(problem: Problem, seed: int = 0) -> Plan:
    """Return the plan with the fewest parameters among random ones that meet the budget.

    At equal MACs, plans with fewer parameters recover better when they are trained again: their
    early layers are wide. (ResNet-20, Fashion-MNIST, 20 % of the MACs, 24 random plans: Spearman
    0.82 with accuracy after 40 distilled steps, 0.67 after 160, where two seeds agree to 0.72 and
    0.63.) Where the budget limits parameters and not MACs, the plan with the most MACs is its
    mirror image. Without a limit on the search this would leave all late layers at their floors, so
    it chooses among log-normal draws around uniform. All blocks stay; nothing is evaluated.

    Args:
        problem: network and budget.
        seed: of the draws.
    """
    graph, costs = problem.graph, problem.costs
    rng = np.random.default_rng(seed)
    drawn = np.exp(rng.normal(0, SPREAD, (DRAWS, len(graph.groups))))
    drawn[:, graph.is_block] = 1.0
    widths = np.stack([problem.budget.decode(costs, one) for one in drawn])
    limited = dict(problem.budget.limits)
    mirrored = "params" in limited and "macs" not in limited
    cost = -graph.macs_of(widths) if mirrored else graph.params_of(widths)
    return problem.decode(drawn[int(np.argmin(cost))])
