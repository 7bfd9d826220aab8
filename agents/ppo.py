"""A policy learned by PPO: chooses a plan for any network in one walk over its groups."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from rlprune.agents.base import Proposal, best_of
from rlprune.config import PPOSettings, RewardSettings
from rlprune.cost.budget import Allocation
from rlprune.envs.observation.feature import Features
from rlprune.envs.walk import Walk
from rlprune.problem import Problem


@dataclass
class PPOAgent:
    """A trained policy; applying it trains nothing.

    Attributes:
        policy: SB3's actor and critic.
        settings: hyperparameters that it was trained with.
        reward: weights of the reward that it was trained on.
        trained_on: models, data and budgets of the training, for the record.
        seed: of the plans sampled at apply time.
    """

    policy: ActorCriticPolicy
    settings: PPOSettings
    reward: RewardSettings
    trained_on: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    name = "ppo"

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        """Walk the groups once; with evaluations, sample more plans and keep the best by score.

        Args:
            problem: any network and budget.
            evaluations: 0 returns the deterministic plan unmeasured. K > 0 scores it, K - 1 plans
                sampled from the policy, and falls back on the heuristic's plan if that is better.
        """
        walk = Walk(problem)
        plan = problem.decode(self.walk_allocation(walk))
        if evaluations == 0:
            return Proposal(plan, self.name)
        torch.manual_seed(self.seed)
        sampled = (
            problem.decode(self.walk_allocation(walk, deterministic=False))
            for _ in range(evaluations - 1)
        )
        found = best_of(problem, itertools.chain([plan], sampled), evaluations, self.name)
        if problem.reference.measurement.score < found.history[-1]:
            return replace(found, plan=problem.reference.plan, fallback=True)
        return found

    def walk_allocation(self, walk: Walk, deterministic: bool = True) -> Allocation:
        """Let the policy answer for every group; return the undecoded allocation."""
        walk.restart()
        while not walk.done:
            walk.act(self._action(walk.observation(), deterministic))
        return walk.allocation()

    def _action(self, observation: Features, deterministic: bool) -> float:
        action, _ = self.policy.predict(observation, deterministic=deterministic)
        return float(np.asarray(action).reshape(-1)[0])

    def state(self) -> dict[str, Tensor]:
        """Return the policy's weights."""
        return {k: v.detach().cpu().clone() for k, v in self.policy.state_dict().items()}
