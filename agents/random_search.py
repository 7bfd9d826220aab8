"""Random search over allocations: the yardstick for every other search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rlprune.agents.base import Proposal, best_of
from rlprune.cost.budget import Allocation
from rlprune.problem import Problem

SPREAD = 0.5

# One in every draw, on average, whatever the depth: else hardly a draw would leave a deep network
# its depth.
_BLOCKS_REMOVED = 1.0


class RandomSearchAgent:
    """Draws log-normal allocations, some of them without a block or two; keeps the best by score.

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
        is_block = problem.graph.is_block
        draws = (centre if i == 0 else self._draw(centre, is_block) for i in range(evaluations))
        return best_of(problem, map(problem.decode, draws), evaluations, self.name)

    def _draw(self, centre: Allocation, is_block: npt.NDArray[np.bool_]) -> Allocation:
        drawn = centre * np.exp(self._rng.normal(0, self._spread, len(centre)))
        if not is_block.any():
            return drawn
        gone = self._rng.random(len(centre)) < _BLOCKS_REMOVED / is_block.sum()
        return np.where(is_block & gone, 0.0, drawn)
