"""What plans around the heuristic's are worth: experience that any number of trainings share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlprune.agents.space import Space, Vector
from rlprune.cache.fingerprint import combined
from rlprune.cache.store import Store
from rlprune.config import ExperienceSettings, RewardSettings
from rlprune.cost.budget import Budget
from rlprune.envs.observation.feature import Features
from rlprune.envs.observation.table import observations
from rlprune.envs.reward import reward
from rlprune.problem import Problem

_STORED = "experience-1"  # the number changes with what is drawn


@dataclass(frozen=True)
class Experience:
    """Pairs of plans on either side of the heuristic's, with what is paid for them.

    The actions of a pair have opposite signs for channels and are the same for blocks. So what
    channels do shows in the difference of its returns, and what blocks do in the mean.

    Attributes:
        network: name, unique in a pool.
        budget: of the problem.
        seen: observations of its groups; shape `(groups, len(OBSERVATION))`.
        is_block: shape `(groups,)`.
        actions: of the first of each pair; shape `(pairs, groups)`.
        returns: shape `(pairs, 2)`.
    """

    network: str
    budget: Budget
    seen: Features
    is_block: np.ndarray[tuple[int], np.dtype[np.bool_]]
    actions: Vector
    returns: Vector


def gather(
    problem: Problem, settings: ExperienceSettings, rewards: RewardSettings, store: Store
) -> Experience:
    """Try pairs of plans, or look up what they were paid.

    Args:
        problem: whose heuristic is the centre; its evaluations are counted.
        settings: of the draws.
        rewards: what is paid.
        store: keeps the returns.
    """
    is_block = problem.graph.is_block
    space, rng = Space(problem, around_heuristic=True), np.random.default_rng(settings.seed)
    nothing = np.zeros(space.size)
    actions = np.array(
        [space.near(nothing, rng, settings.spread, settings.blocks) for _ in range(settings.pairs)]
    )
    key = combined(
        problem.evaluator.fingerprint,
        problem.reference.plan.key.hex(),
        str(problem.budget),
        settings.model_dump_json(),
        rewards.model_dump_json(),
    )
    paid = store.get(_STORED, key)
    if paid is None:
        pairs = np.stack([actions, np.where(is_block, actions, -actions)], axis=1)
        plans = [space.plan(x) for x in pairs.reshape(-1, space.size)]
        measured = problem.evaluator.evaluate_many(plans)
        paid = [reward(problem, one, rewards).total for one in measured]
        store.put(_STORED, key, paid)
    returns = np.array(paid).reshape(-1, 2)
    return Experience(
        problem.name, problem.budget, observations(problem), is_block, actions, returns
    )
