"""A trained policy that is first trained a little further on the network that it is applied to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rlprune.agents.base import Proposal
from rlprune.agents.ppo import PPOAgent
from rlprune.agents.training import train_agent
from rlprune.config import PPOSettings
from rlprune.problem import Problem


@dataclass(frozen=True)
class AdaptingAgent:
    """Continues PPO on the one problem before it proposes; the policy it starts from stays.

    Attributes:
        start: the policy.
        episodes: evaluations spent on training, rounded up to whole updates; these are as large as
            `PPOSettings` says by default.
    """

    start: PPOAgent
    episodes: int
    name = "ppo"

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        """Train, then propose as `PPOAgent` does; Ctrl-C ends the training, not the proposal."""
        usual = PPOSettings().model_dump(include={"episodes_per_update", "siblings"})
        training = train_agent(
            [problem],
            self.episodes,
            settings=self.start.settings.model_copy(update=usual),
            rewards=self.start.reward,
            seed=self.start.seed,
            start=self.start,
        )
        agent = replace(training.agent, seed=self.start.seed)
        if training.interrupted:
            return replace(agent.propose(problem), interrupted=True)
        return agent.propose(problem, evaluations)

    def ranked(self, problem: Problem) -> Problem:
        """Return the problem as the policy knows it."""
        return self.start.ranked(problem)
