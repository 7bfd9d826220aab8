"""Random search over allocations: the yardstick for every other search."""

from __future__ import annotations

import numpy as np

from rlprune.agents.base import Proposal, best_of
from rlprune.problem import Problem

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
        """Evaluate that many plans; the first one is the centre of the draws.

        With 0 evaluations the centre itself is returned, unmeasured.
        """
        groups = len(problem.graph.groups)
        centre = problem.reference.allocation if self._around_heuristic else np.ones(groups)
        if evaluations == 0:
            return Proposal(problem.decode(centre), self.name)
        noises = (
            np.zeros(groups) if i == 0 else self._rng.normal(0, self._spread, groups)
            for i in range(evaluations)
        )
        plans = (problem.decode(centre * np.exp(noise)) for noise in noises)
        return best_of(problem, plans, evaluations, self.name)
