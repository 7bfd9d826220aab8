"""AMC's search (He et al., ECCV 2018): DDPG on the one network, with the paper's settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from rlprune.agents.amc import BATCH, AMCLearner, Episode, play, random_actions, sigma_at
from rlprune.agents.base import Proposal
from rlprune.allocate.uniform import uniform
from rlprune.envs.amc import AMCEnv
from rlprune.problem import Problem
from rlprune.progress import progress_bar

EPISODES = 800
"""AMC's own setting."""

WARM_UP, WARM_UP_SHARE = 100, 4
"""Random episodes, or a share of them where there are fewer than 400 (as NNI's AMC does)."""


class DDPGAgent:
    """Learns on the one problem; every episode is a plan. Keeps the plan with the best reward.

    An episode whose plan came up before costs no evaluation, and is none.

    Args:
        seed: of the networks, the noise and what is replayed.
    """

    name = "ddpg"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def propose(self, problem: Problem, evaluations: int = EPISODES) -> Proposal:
        """Play so many episodes; 0 returns the uniform plan unmeasured.

        The reward is the task's metric, and of plans that are paid alike the one with the best
        search score is kept. The history is of search scores, so its end may be another plan's.
        """
        if evaluations == 0:
            return Proposal(uniform(problem), self.name)
        best: Episode | None = None
        scores: dict[bytes, float] = {}
        interrupted = False
        try:
            with progress_bar() as progress:
                bar = progress.add_task(f"{self.name}: episodes", total=evaluations)
                for episode in _episodes(problem, evaluations, self._seed):
                    if best is None or episode.worth > best.worth:
                        best = episode
                    scores.setdefault(episode.plan.key, episode.measurement.score)
                    progress.advance(bar)
        except KeyboardInterrupt:
            if best is None:
                raise
            interrupted = True
        if best is None:
            raise ValueError(f"DDPG cannot play {evaluations} episodes")
        history = tuple(itertools.accumulate(scores.values(), min))
        return Proposal(best.plan, self.name, history=history, interrupted=interrupted)


def _episodes(problem: Problem, count: int, seed: int) -> Iterator[Episode]:
    """Play and learn; as many updates after each episode as it has steps."""
    env = AMCEnv(problem)
    learner, rng = AMCLearner(env, seed), np.random.default_rng(seed)
    warm_up = min(WARM_UP, count // WARM_UP_SHARE)
    for i in range(count):
        random = i < warm_up
        act = random_actions(rng) if random else learner.explore(rng, sigma_at(i, warm_up))
        episode = play(env, act)
        yield episode
        learner.remember(episode)
        if not random:
            learner.train(len(episode.actions), BATCH)
