"""What policies are paid on a problem, without training: seeing, half blind, and at random."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import numpy as np

from rlprune.agents import PPOAgent
from rlprune.config import RewardSettings
from rlprune.envs import Walk, reward
from rlprune.envs.observation.feature import Features
from rlprune.envs.observation.table import group_features, network_features, stacked
from rlprune.problem import Problem


def paid(problem: Problem, walk: Walk, rewards: RewardSettings) -> float:
    """Return the reward of the allocation that a walk ended with; one evaluation."""
    measured = problem.evaluate(problem.decode(walk.allocation()))
    return reward(problem, measured, rewards).total


def of_policy(
    problem: Problem, agent: PPOAgent, rewards: RewardSettings, seen: Features | None = None
) -> float:
    """Return what the policy without exploration is paid.

    Args:
        problem: the network and the budget.
        agent: the policy.
        rewards: what is paid.
        seen: shown instead of what there is to see.
    """
    walk = Walk(problem, seen)
    agent.actions(walk)
    return paid(problem, walk, rewards)


def of_shuffled(
    problem: Problem,
    agent: PPOAgent,
    rewards: RewardSettings,
    rng: np.random.Generator,
    count: int,
) -> float:
    """Return the mean return of the policy when features are permuted among groups."""
    groups, of_network = group_features(problem), network_features(problem)

    def once() -> float:
        seen = stacked(groups[rng.permutation(len(groups))], of_network)
        return of_policy(problem, agent, rewards, seen)

    return _mean(once, count)


def of_unwatched(problem: Problem, agent: PPOAgent, rewards: RewardSettings) -> float:
    """Return what the policy is paid that is shown nothing of the training, nor of its data."""
    unwatched = problem.with_budget(problem.budget)
    unwatched.dynamics = None
    return of_policy(unwatched, agent, rewards)


def of_chance(
    problem: Problem, rewards: RewardSettings, rng: np.random.Generator, count: int
) -> float:
    """Return the mean return of uniformly random actions."""
    walk = Walk(problem)

    def once() -> float:
        walk.restart()
        while not walk.done:
            walk.act(float(rng.uniform(-1, 1)))
        return paid(problem, walk, rewards)

    return _mean(once, count)


def _mean(once: Callable[[], float], count: int) -> float:
    return fmean(once() for _ in range(count))
