"""A latency budget is met by what was measured end to end, not by what was predicted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rlprune.cost.budget import Budget
from rlprune.cost.costs import Costs
from rlprune.latency.timing import Ratio
from rlprune.surgery.plan import Plan

ACCEPTED = 0.95
"""A plan that uses less of its latency than this is widened."""

_AIM = 0.975  # in the middle of what is accepted
_ATTEMPTS = 6


@dataclass(frozen=True)
class Confirmed:
    """A plan with its latency.

    Attributes:
        plan: the one confirmed.
        latency: measured end to end, as a fraction of the dense network's.
        predicted: what the search took it for.
        met: whether the measured latency is within the budget.
        attempts: plans that were measured.
    """

    plan: Plan
    latency: Ratio
    predicted: float
    met: bool
    attempts: int


def confirm(
    plan: Plan, budget: Budget, costs: Costs, measure: Callable[[Plan], Ratio]
) -> Confirmed:
    """Measure a plan end to end, and scale its widths until it uses its latency, and no more.

    Proportions between groups stay those of the plan, and so do other limits and removed blocks.

    Args:
        plan: meets the budget as predicted.
        budget: limits latency.
        costs: predicts latency.
        measure: returns a plan's latency / dense latency, end to end.

    Returns:
        The plan that uses most of the budget of those that meet it, or else the fastest one.
    """
    limit = budget.limit("latency")
    allocation = plan.widths / costs.graph.widths
    seen: dict[Plan, Ratio] = {}
    current = plan
    while current not in seen and len(seen) < _ATTEMPTS:
        seen[current] = measured = measure(current)
        if ACCEPTED * limit <= measured.value <= limit:
            break
        wanted = float(costs.kept("latency", current.widths)) * _AIM * limit / measured.value
        allowed = float(np.clip(wanted, costs.reachable("latency"), 1.0))
        widths = budget.with_limit("latency", allowed).decode(costs, allocation)
        current = Plan.from_widths(costs.graph, widths)
    met = {p: ratio for p, ratio in seen.items() if ratio.value <= limit}
    chosen = max(met, key=lambda p: met[p].value) if met else min(seen, key=lambda p: seen[p].value)
    return Confirmed(
        plan=chosen,
        latency=seen[chosen],
        predicted=float(costs.kept("latency", chosen.widths)),
        met=chosen in met,
        attempts=len(seen),
    )
