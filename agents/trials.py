"""What a search pays with: a limited number of evaluations, the best of which is remembered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from rlprune.agents.base import Proposal
from rlprune.problem import Problem
from rlprune.progress import progress_bar
from rlprune.surgery.plan import Plan

MOST_KEPT = 16
"""Plans that are remembered, the best first."""

_MOST_STALLS = 30  # batches without a new plan, before a search is taken to have seen them all


class Trials:
    """Scores plans for one search until its allowance is spent; Ctrl-C keeps the best so far.

    A plan that the search asks for again is neither evaluated nor counted a second time. Whatever
    the batches are, as many plans are evaluated at a time as the evaluator has lanes, which changes
    no result. To be entered as a context, which an interruption leaves.

    Args:
        problem: whose evaluator scores the plans.
        evaluations: most distinct plans that may be evaluated.
        method: name of the agent.

    Attributes:
        history: best search score after each evaluation (a loss).
        stalls: batches in a row without a new plan.
    """

    def __init__(self, problem: Problem, evaluations: int, method: str) -> None:
        self.history: list[float] = []
        self.stalls = 0
        self._problem, self._allowed, self._method = problem, evaluations, method
        self._known: dict[bytes, float] = {}
        self._best: list[tuple[float, Plan]] = []
        self._interrupted = False
        self._stack = ExitStack()

    def __enter__(self) -> Trials:
        self._progress = self._stack.enter_context(progress_bar())
        self._bar = self._progress.add_task(
            f"{self._method}: evaluating plans", total=self._allowed
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._stack.close()
        self._interrupted = isinstance(error, KeyboardInterrupt) and bool(self._best)
        return self._interrupted

    @property
    def left(self) -> int:
        """How many distinct plans may still be evaluated."""
        return self._allowed - len(self._known)

    @property
    def open(self) -> bool:
        """Whether there is something left to spend, and the search still finds new plans."""
        return self.left > 0 and self.stalls < _MOST_STALLS

    def score(self, plans: Sequence[Plan], feasible: Sequence[bool] | None = None) -> list[float]:
        """Return the search score of each plan; infinite where the allowance was spent before.

        Args:
            plans: in the order in which the allowance is spent on them.
            feasible: which of them may be proposed; all by default.
        """
        allowed = feasible or [True] * len(plans)
        new = {plan.key: plan for plan in plans if plan.key not in self._known}
        may = {plan.key for plan, one in zip(plans, allowed, strict=True) if one}
        missing = list(new.values())[: self.left]
        self.stalls = 0 if missing else self.stalls + 1
        lanes = self._problem.evaluator.scorer.lanes
        for start in range(0, len(missing), lanes):
            some = missing[start : start + lanes]
            for plan, found in zip(some, self._problem.evaluator.evaluate_many(some), strict=True):
                self._remember(plan, found.score, plan.key in may)
            self._progress.advance(self._bar, len(some))
        return [self._known.get(plan.key, math.inf) for plan in plans]

    def _remember(self, plan: Plan, score: float, feasible: bool) -> None:
        self._known[plan.key] = score
        least = self.history[-1] if self.history else math.inf
        if feasible:
            self._best = sorted([*self._best, (score, plan)], key=lambda one: one[0])[:MOST_KEPT]
        self.history.append(min(least, score) if feasible else least)

    def proposal(self, front: Sequence[Plan] = ()) -> Proposal:
        """Propose the best plan that was found."""
        if not self._best:
            raise ValueError("a search needs at least one plan that may be proposed")
        best, *others = (plan for _, plan in self._best)
        return Proposal(
            best,
            self._method,
            history=tuple(self.history),
            interrupted=self._interrupted,
            front=tuple(front),
            runners_up=tuple(others),
        )
