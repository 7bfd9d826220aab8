"""PPO as a search: a policy trained from scratch on the one problem, within its allowance."""

from __future__ import annotations

import itertools

from rlprune.agents.base import WORSE, Proposal
from rlprune.agents.training import train_agent
from rlprune.config import PPOSettings
from rlprune.envs.walk import Walk
from rlprune.problem import Problem

TOO_FEW = "there were too few evaluations to train a policy; the heuristic answered"
"""A fallback of a search that could not begin."""

_BEFORE_AND_AFTER = 2  # training shows the policy without exploration before and after


class PPOSearchAgent:
    """Trains a policy, then keeps the best plan that it tried, or the policy's own.

    `PPOAgent` applies a policy that was trained before, on other networks; this one knows nothing
    but the problem at hand. Its zero action is the heuristic, which is what it starts from.

    Args:
        seed: of the policy and its exploration.
    """

    name = "ppo"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def propose(self, problem: Problem, evaluations: int = 200) -> Proposal:
        """Train on as many whole updates as the evaluations allow.

        The heuristic's plan is what is left where that is none, or where nothing better was found:
        it is measured as part of the profile. Latency is part of the reward where the problem
        charges for it.
        """
        _ = problem.local_changes  # what the policy sees is paid for in any case
        heuristic, score = problem.reference.plan, problem.reference.measurement.score
        settings = PPOSettings(ranking=problem.ranking)
        count = settings.episodes_per_update
        episodes = (evaluations - _BEFORE_AND_AFTER) // count * count
        if episodes < count:
            return Proposal(heuristic, self.name, fallback=TOO_FEW if evaluations else None)
        training = train_agent([problem], episodes, settings=settings, seed=self._seed)
        own = problem.decode(training.agent.walk_allocation(Walk(problem)))
        tried = [(problem.evaluate(own).score, own), *training.best_plans.values()]
        least, plan = min(tried, key=lambda one: one[0])
        is_worse = score < least
        return Proposal(
            heuristic if is_worse else plan,
            self.name,
            fallback=WORSE if is_worse else None,
            history=tuple(itertools.accumulate([*training.scores, tried[0][0]], min)),
            interrupted=training.interrupted,
        )
