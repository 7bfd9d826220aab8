"""Environments that walk side by side, so that their plans are measured together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from rlprune.config import RewardSettings
from rlprune.envs.channel_pruning import ChannelPruningEnv
from rlprune.envs.observation.feature import Features
from rlprune.evaluate.evaluator import Evaluator, Measurement
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan


class PruningVecEnv(DummyVecEnv):
    """Steps several environments whose episodes end in the same step, to be measured together.

    One whose network has fewer groups than the longest waits first: it shows zeros, which no group
    looks like, and passes over its actions. So `longest` steps are one episode of each.

    Infos are handed out as they are: what an episode ends with is never changed afterwards.

    Args:
        problems: the pool that every environment draws from.
        count: how many environments.
        settings: weights of the reward.
        siblings: how many environments in a row walk through the same problem, drawn by the first.

    Attributes:
        longest: groups of the network that has most.
    """

    envs: list[ChannelPruningEnv]  # type: ignore[assignment]

    def __init__(
        self,
        problems: Sequence[Problem],
        count: int,
        settings: RewardSettings | None = None,
        siblings: int = 1,
    ) -> None:
        super().__init__([lambda: ChannelPruningEnv(problems, settings)] * count)
        self.longest = max(len(problem.graph.groups) for problem in problems)
        self._siblings = siblings
        self._step = 0

    def reset(self) -> VecEnvObs:
        """Start an episode in every environment."""
        super().reset()
        self._step = 0
        self._begin()
        return self._obs_from_buf()

    def step_wait(self) -> VecEnvStepReturn:
        """Step all that do not wait; after the longest walk all start their next episodes."""
        walking = [i for i in range(self.num_envs) if not self._waits(i)]
        plans = {i: self.envs[i].decide(self.actions[i]) for i in walking}
        ended = {i: plan for i, plan in plans.items() if plan is not None}
        pairs = [(self.envs[i].walk.problem, plan) for i, plan in ended.items()]
        measured = dict(zip(ended, measure_together(pairs), strict=True))
        self._step = 0 if ended else self._step + 1
        infos: list[dict[str, Any]] = []
        for i, env in enumerate(self.envs):
            observation, paid, done, _, info = env.outcome(ended.get(i), measured.get(i))
            infos.append(info | {"TimeLimit.truncated": False})
            if done:
                infos[i]["terminal_observation"] = observation
                _, self.reset_infos[i] = env.reset()
            self.buf_rews[i], self.buf_dones[i] = paid, done
        if ended:
            self._begin()
        else:
            for i, env in enumerate(self.envs):
                self._show(i, env.walk.observation())
        return self._obs_from_buf(), np.copy(self.buf_rews), np.copy(self.buf_dones), infos

    def _begin(self) -> None:
        """Let siblings walk through the problem that the first of them drew."""
        for i, env in enumerate(self.envs):
            if i % self._siblings:
                same = {"problem": self.reset_infos[i - 1]["problem"]}
                _, self.reset_infos[i] = env.reset(options=same)
            self._show(i, env.walk.observation())

    def _waits(self, i: int) -> bool:
        return self._step < self.longest - len(self.envs[i].walk.problem.graph.groups)

    def _show(self, i: int, observation: Features) -> None:
        self._save_obs(i, np.zeros_like(observation) if self._waits(i) else observation)


def measure_together(pairs: Sequence[tuple[Problem, Plan]]) -> list[Measurement]:
    """Measure plans of several problems, those of one network in one call; in their order."""
    by_evaluator: dict[Evaluator, list[int]] = {}
    for i, (problem, _) in enumerate(pairs):
        by_evaluator.setdefault(problem.evaluator, []).append(i)
    measured: dict[int, Measurement] = {}
    for evaluator, places in by_evaluator.items():
        found = evaluator.evaluate_many([pairs[i][1] for i in places])
        measured.update(zip(places, found, strict=True))
    return [measured[i] for i in range(len(pairs))]
