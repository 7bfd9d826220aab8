"""AMC's decision process (He et al., ECCV 2018): one kept fraction per group, under an action wall.

Faithful to the paper where it matters for the comparison: the layer state, min-max normalised
within the one network; the wall; the reward. The normalisation is also why a policy learned here
means nothing on another network; `rlprune.envs.observation` is the one that transfers.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlprune.cost.analytic import Widths
from rlprune.cost.budget import Allocation
from rlprune.envs.amc_state import AMC_STATE, layer_states
from rlprune.envs.observation.feature import Features
from rlprune.evaluate.evaluator import Measurement
from rlprune.evaluate.tasks import Reconstruction
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

LEAST_KEPT = 0.2
"""Lower bound of an action, as in AMC; lower where the budget asks for it, see `ActionWall`."""

_DECIBELS = 10.0  # make a unit of reward
_LEAST_REWARD = -1.0  # of a network that could not be measured


class ActionWall:
    """Widths chosen one group after the other, such that the budget stays within reach.

    What is not decided yet counts as small as it may become: blocks stay, and groups of channels
    are at their lower bound, a fifth of their channels as in AMC. Where that leaves no room (AMC
    refuses such budgets) it is half of what the uniform plan keeps, and never less than the floor.

    Args:
        problem: gives groups, costs and budget; a width is what the costs allow, as for everyone.

    Attributes:
        lowest: lower bounds; shape `(groups,)`.
        widths: those decided, and the lower bounds of the others.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        graph, costs = problem.graph, problem.costs
        uniform = problem.budget.decode(costs, np.ones(len(graph.groups)))
        least = np.minimum(LEAST_KEPT * graph.widths, uniform / 2)
        rounded = (np.floor(least / costs.steps) * costs.steps).astype(np.int64)
        bounded = np.clip(rounded, costs.floors, graph.widths)
        self.lowest: Widths = np.where(graph.is_block, 1, bounded)
        self.widths = self.lowest.copy()

    def restart(self) -> None:
        """Forget all decisions."""
        self.widths = self.lowest.copy()

    def decide(self, group: int, kept: float) -> float:
        """Set a group's width to what is wanted or, if that is less, to what the wall allows.

        Args:
            group: of channels; its lower bound is what it gets at least.
            kept: fraction of the channels that the agent wants.

        Returns:
            The fraction that it gets.
        """
        whole = int(self._problem.graph.widths[group])
        if self._is_without_cost(group):
            self.widths[group] = whole  # in a block that goes; the decoder does the same
            return 1.0
        step, least = int(self._problem.costs.steps[group]), int(self.lowest[group])
        offered = np.append(np.arange(least, whole, step), whole)
        offered = offered[offered <= max(kept * whole, least) + 1e-9]
        tried = np.repeat(self.widths[None], len(offered), axis=0)
        tried[:, group] = offered
        fits = self._problem.budget.usage(self._problem.costs, tried) <= 1.0
        self.widths[group] = offered[fits].max(initial=least)
        return float(self.widths[group] / whole)

    def plan(self) -> Plan:
        """Return the plan of all decisions; nothing is added where the budget is not used up.

        The decoder has a word only where the wall failed, which no cost does that grows with every
        width: a measured latency need not.
        """
        budget, costs = self._problem.budget, self._problem.costs
        if budget.usage(costs, self.widths) <= 1.0:
            return Plan.from_widths(self._problem.graph, self.widths)
        kept: Allocation = self.widths / self._problem.graph.widths
        return self._problem.decode(kept)

    def _is_without_cost(self, group: int) -> bool:
        without = self.widths.copy()
        without[group] = 0
        params = self._problem.graph.params_of(np.stack([self.widths, without]))
        return bool(params[0] == params[1])


class AMCEnv(gym.Env[Features, npt.NDArray[np.float32]]):
    """Walk blocks, then groups of channels in forward order; pay for the plan at the end.

    The action in [0, 1] is the kept fraction of the group, subject to the wall. A block is one more
    coordinate, which AMC does not have: it goes if the action is below `block_threshold`, such that
    random actions remove one block on average. Blocks come first, so that the wall counts what
    they save.

    The observation is AMC's layer state, see `AMC_STATE`. The reward is 0 until the last group,
    then AMC's `acc` reward: what the task's metric says on the search samples, whatever the search
    score is. After the last step `info` holds `plan` and `measurement`.

    Args:
        problem: one network and budget.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.observation_space = spaces.Box(0.0, 1.0, (len(AMC_STATE),), np.float32)
        self.action_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        is_block = problem.graph.is_block
        self.order = np.concatenate([np.flatnonzero(is_block), np.flatnonzero(~is_block)])
        self.block_threshold = min(LEAST_KEPT, 1.0 / max(1, int(is_block.sum())))
        self.wall = ActionWall(problem)
        self._states = layer_states(problem, self.order)
        self._dense = float(problem.budget.usage(problem.costs, problem.graph.widths))
        self._step, self._previous = 0, 1.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Features, dict[str, Any]]:
        """Start at the first group; nothing here is random."""
        super().reset(seed=seed)
        self.wall.restart()
        self._step, self._previous = 0, 1.0
        return self._observation(), {}

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[Features, float, bool, bool, dict[str, Any]]:
        """Decide on the current group; pay after the last one."""
        group, kept = int(self.order[self._step]), float(np.asarray(action).reshape(-1)[0])
        if self.problem.graph.is_block[group]:
            self.wall.widths[group] = self._previous = float(kept >= self.block_threshold)
        else:
            self._previous = self.wall.decide(group, kept)
        if self._step + 1 < len(self.order):
            self._step += 1
            return self._observation(), 0.0, False, False, {}
        plan = self.wall.plan()
        measured = self.problem.evaluate(plan)
        info = {"plan": plan, "measurement": measured}
        return self._observation(), amc_reward(self.problem, measured), True, False, info

    def _observation(self) -> Features:
        graph, current = self.problem.graph, self.order[self._step]
        later = self.order[self._step + 1 :]
        widths = np.repeat(self.wall.widths[None], 2, axis=0)
        widths[:, current] = graph.widths[current]
        widths[0, later] = graph.widths[later]
        ahead, least = self.problem.budget.usage(self.problem.costs, widths) / self._dense
        moving = np.clip([1.0 - ahead, ahead - least, self._previous], 0.0, 1.0)
        return np.concatenate([self._states[self._step], moving]).astype(np.float32)


def amc_reward(problem: Problem, measured: Measurement) -> float:
    """Return AMC's reward under the wall: the accuracy, or a tenth of the PSNR in dB."""
    unit = _DECIBELS if problem.evaluator.task.name == Reconstruction.name else 1.0
    return max(measured.quality / unit, _LEAST_REWARD)
