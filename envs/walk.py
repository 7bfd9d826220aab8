"""One walk over the groups of a network: observations out, actions in, an allocation at the end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rlprune.allocate.local import altered
from rlprune.cost.budget import Allocation
from rlprune.envs.observation.feature import Features
from rlprune.envs.observation.table import ACTIONS_AT, observations
from rlprune.graph.group_graph import GroupGraph
from rlprune.problem import Problem

RESIDUAL_SCALE = 1.0
"""An action of 1 keeps e times the heuristic's share of a group before the budget is met."""

BLOCK_THRESHOLD = -0.3
"""An action below this removes a block, or puts back one that the heuristic removed; another leaves
it as it is. PPO's first actions lie two standard deviations above: blocks are tried, but few at
once even in deep networks."""


class Walk:
    """The decision process without its price: nothing here evaluates a plan.

    Shared by the environment, which pays at the end, and by agents, which search from its answer.

    Args:
        problem: whose groups are walked: channels in forward order, then blocks.
        seen: shown instead of what there is to see; shape `(groups, len(OBSERVATION))`.
    """

    def __init__(self, problem: Problem, seen: Features | None = None) -> None:
        self.problem = problem
        self._observations = observations(problem) if seen is None else seen
        self.actions: list[float] = []

    def restart(self) -> None:
        """Forget all actions."""
        self.actions = []

    @property
    def done(self) -> bool:
        """Whether every group has its action."""
        return len(self.actions) == len(self._observations)

    def observation(self) -> Features:
        """Return the observation of the next group, or of the last one when done."""
        index = min(len(self.actions), len(self._observations) - 1)
        seen: Features = self._observations[index].copy()
        if self.actions:
            seen[ACTIONS_AT] = self.actions[-1], np.mean(self.actions)
        return seen

    def act(self, action: float) -> None:
        """Choose the next group's residual, an action in [-1, 1]."""
        self.actions.append(float(np.clip(action, -1.0, 1.0)))

    def allocation(self) -> Allocation:
        """Return the heuristic's allocation as the actions change it; 0 for groups not reached."""
        residual: npt.NDArray[np.float64] = np.zeros(len(self._observations))
        residual[: len(self.actions)] = self.actions
        return changed(self.problem.graph, self.problem.reference.allocation, residual)


def changed(
    graph: GroupGraph, allocation: Allocation, actions: npt.NDArray[np.float64]
) -> Allocation:
    """Return an allocation times exp(action), with the blocks changed that actions ask for.

    Args:
        graph: dependency groups.
        allocation: kept fractions; 0 for blocks that are gone.
        actions: residuals; shape `(groups,)`.
    """
    return altered(graph, allocation, RESIDUAL_SCALE * actions, actions < BLOCK_THRESHOLD)
