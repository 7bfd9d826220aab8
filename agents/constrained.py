"""The smallest network that still meets constraints, with any agent that can meet a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlprune.agents.base import Agent, Proposal
from rlprune.errors import ConstraintError
from rlprune.evaluate.constraints import Outcome, Requirements
from rlprune.problem import Problem

STEPS = 8
"""Halvings of the range of kept fractions, on a log scale: from 1 to 0.02 they leave 1.5 %."""


@dataclass(frozen=True)
class Smallest:
    """The smallest plan found that meets all constraints.

    Attributes:
        problem: at the kept fraction that the plan was made for.
        proposal: the agent's, there.
        outcomes: what its network reaches, repaired, on the validation split.
    """

    problem: Problem
    proposal: Proposal
    outcomes: tuple[Outcome, ...]

    @property
    def is_met(self) -> bool:
        """Whether all constraints are."""
        return all(outcome.is_met for outcome in self.outcomes)

    @property
    def kept(self) -> float:
        """Kept fraction of the quantity that is made small."""
        costs, (quantity, _) = self.problem.costs, self.problem.budget.limits[0]
        return float(costs.kept(quantity, self.proposal.plan.widths))


def smallest(
    problem: Problem, agent: Agent, requirements: Requirements, evaluations: int = 0
) -> Smallest:
    """Find the smallest network that an agent can make that meets constraints.

    The first quantity of the budget is made as small as they allow; the budget itself holds too.
    Kept fractions are bisected, which takes for granted that an agent's larger networks are the
    better ones. Where they are not, what is returned still meets the constraints, but a smaller
    one may exist. One that misses them at the full budget is no reason to stop: searches may leave
    a budget unused.

    Args:
        problem: its budget says what is made small and how much may be kept at most.
        agent: asked for a plan at every kept fraction that is tried.
        requirements: checked on the repaired network, not fine-tuned.
        evaluations: of the agent at each kept fraction.

    Raises:
        ConstraintError: if no network meets them, with what the one at the full budget reaches.
    """
    quantity, most = problem.budget.limits[0]
    least = problem.costs.reachable(quantity)

    def attempt(kept: float) -> Smallest:
        there = problem.with_budget(problem.budget.with_limit(quantity, kept))
        proposal = agent.propose(there, evaluations)
        outcomes = requirements.check(problem.evaluator.repaired(proposal.plan))
        return Smallest(there, proposal, tuple(outcomes))

    tried = [attempt(most)]
    low, high, kept = math.log(least), math.log(most), least
    for _ in range(STEPS + 1):
        if tried[-1].proposal.interrupted or low >= high:
            break
        tried.append(attempt(kept))
        if tried[-1].is_met:
            high = math.log(kept)
        else:
            low = math.log(kept)
        kept = max(least, math.exp((low + high) / 2))
    met = [one for one in tried if one.is_met]
    if not met:
        raise _out_of_reach(tried[0])
    return min(met, key=lambda one: one.kept)


def _out_of_reach(tried: Smallest) -> ConstraintError:
    budget, method = tried.problem.budget, tried.proposal.method
    missed = "; ".join(
        f"{outcome.constraint}: {outcome.reached:.4f} is reached, the dense network reaches "
        f"{outcome.dense:.4f}"
        for outcome in tried.outcomes
        if not outcome.is_met
    )
    return ConstraintError(
        f"the {method} network at {budget} does not meet {missed} (validation split, repaired, "
        "not fine-tuned); allow a larger budget, or ask for less"
    )
