"""What an agent is: something that proposes a plan for a problem."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from rlprune.problem import Problem
from rlprune.progress import progress_bar
from rlprune.surgery.plan import Plan

WORSE = "the agent's plans scored below the heuristic's, which was taken"
"""A fallback that evaluations led to."""


@dataclass(frozen=True)
class Proposal:
    """The plan that an agent chose.

    Attributes:
        plan: meets the problem's budget.
        method: name of the agent.
        fallback: why the answer is not the agent's own, if it is not, and whose it is.
        history: best search score after each evaluation (a loss); empty without evaluations.
        interrupted: whether Ctrl-C ended the search early; the plan is the best until then.
        front: plans within the budget of which none is better and cheaper than another, cheapest
            first; empty unless the agent looks for them.
        runners_up: the next best plans by search score, best first, of those that were measured.
    """

    plan: Plan
    method: str
    fallback: str | None = None
    history: tuple[float, ...] = ()
    interrupted: bool = False
    front: tuple[Plan, ...] = ()
    runners_up: tuple[Plan, ...] = ()


class Agent(Protocol):
    """Chooses a plan for a problem with at most so many evaluations on the search split."""

    name: str

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        """Return the best plan found; profile evaluations are counted apart."""


def best_of(problem: Problem, plans: Iterable[Plan], count: int, method: str) -> Proposal:
    """Evaluate plans and propose the best by search score; Ctrl-C keeps the best so far.

    As many are evaluated at a time as the evaluator has lanes. Plans that turn out worse than the
    best one half-way are not scored to the end, which changes neither the choice nor its history.

    Args:
        problem: whose evaluator scores them.
        plans: at least one; consumed lazily.
        count: how many there are, for the progress bar.
        method: name of the agent.
    """
    best: Plan | None = None
    history: list[float] = []
    interrupted = False
    remaining, lanes = iter(plans), problem.evaluator.scorer.lanes
    try:
        with progress_bar() as progress:
            bar = progress.add_task(f"{method}: evaluating plans", total=count)
            while some := list(itertools.islice(remaining, lanes)):
                least = history[-1] if history else math.inf
                measured = problem.evaluator.evaluate_many(some, at_most=least)
                for plan, found in zip(some, measured, strict=True):
                    if best is None or found.score < least:
                        best = plan
                    least = min(found.score, least)
                    history.append(least)
                progress.advance(bar, len(some))
    except KeyboardInterrupt:
        if best is None:
            raise
        interrupted = True
    if best is None:
        raise ValueError("best_of needs at least one plan")
    return Proposal(best, method, history=tuple(history), interrupted=interrupted)
