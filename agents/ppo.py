"""A policy learned by PPO: its walk over the groups of any network is where a search begins."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from rlprune.agents.base import Proposal
from rlprune.agents.guided import search
from rlprune.agents.space import Vector
from rlprune.config import PPOSettings, RewardSettings
from rlprune.cost.budget import Allocation, Budget
from rlprune.envs.observation.feature import Features
from rlprune.envs.walk import Walk
from rlprune.errors import UncoveredError
from rlprune.problem import Problem


@dataclass
class PPOAgent:
    """A trained policy; applying it trains nothing.

    Attributes:
        policy: SB3's actor and critic.
        settings: hyperparameters that it was trained with.
        reward: weights of the reward that it was trained on.
        kept: `{quantity: (least, largest) kept fraction}` of the budgets that it was trained at.
        trained_on: models, data and budgets of the training, for the record.
        seed: of the search at apply time.
    """

    policy: ActorCriticPolicy
    settings: PPOSettings
    reward: RewardSettings
    kept: dict[str, tuple[float, float]]
    trained_on: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    name = "ppo"

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        """Walk the groups once, and search from the answer; channels are ranked as in training.

        Args:
            problem: any network and budget.
            evaluations: plans that are measured beside the profile.

        Raises:
            UncoveredError: if the budget is beyond those of its training.
        """
        self._check_covers(problem.budget)
        ranked = self.ranked(problem)
        return search(ranked, self.actions(Walk(ranked)), evaluations, self.seed, self.name)

    def ranked(self, problem: Problem) -> Problem:
        """Return the problem as the policy knows it."""
        return problem.ranked_by(self.settings.ranking)

    def _check_covers(self, budget: Budget) -> None:
        for quantity, kept in budget.limits:
            least, largest = self.kept.get(quantity, (math.inf, -math.inf))
            if not least <= kept <= largest:
                known = ", ".join(f"{q} from {a:g} to {b:g}" for q, (a, b) in self.kept.items())
                raise UncoveredError(
                    f"the agent was trained at {known}, and {quantity}={kept:g} is asked for"
                )

    def actions(self, walk: Walk) -> Vector:
        """Let the policy answer for every group; actions are vectors around the heuristic."""
        walk.restart()
        while not walk.done:
            walk.act(self._action(walk.observation()))
        return np.array(walk.actions)

    def walk_allocation(self, walk: Walk) -> Allocation:
        """Return the undecoded allocation that the policy without exploration answers."""
        self.actions(walk)
        return walk.allocation()

    def _action(self, observation: Features) -> float:
        action, _ = self.policy.predict(observation, deterministic=True)
        return float(np.asarray(action).reshape(-1)[0])

    def state(self) -> dict[str, Tensor]:
        """Return the policy's weights."""
        return {k: v.detach().cpu().clone() for k, v in self.policy.state_dict().items()}
