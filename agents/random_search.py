"""Random search over allocations: the yardstick for every other search."""

from __future__ import annotations

import numpy as np

from rlprune.agents.base import Proposal
from rlprune.problem import Problem
from rlprune.progress import track

SPREAD = 0.5


class RandomSearchAgent:
    """Draws log-normal allocations and keeps the best by search score.

    Args:
        seed: of the draws.
        spread: standard deviation of the log of the kept fractions before the budget is met.
        around_heuristic: draw around the heuristic's allocation instead of uniform.
    """

    name = "random"

    def __init__(
        self, seed: int = 0, spread: float = SPREAD, around_heuristic: bool = False
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._spread = spread
        self._around_heuristic = around_heuristic

    def propose(self, problem: Problem, evaluations: int = 200) -> Proposal:
        """Evaluate that many plans; the first one is the centre of the draws."""
        groups = len(problem.graph.groups)
        centre = problem.reference.allocation if self._around_heuristic else np.ones(groups)
        best_plan, best_score = problem.decode(centre), float("inf")
        history = []
        for i in track(range(max(1, evaluations)), "random search"):
            noise = np.zeros(groups) if i == 0 else self._rng.normal(0, self._spread, groups)
            plan = problem.decode(centre * np.exp(noise))
            score = problem.evaluate(plan).score
            if score < best_score:
                best_plan, best_score = plan, score
            history.append(best_score)
        return Proposal(best_plan, self.name, history=tuple(history))
