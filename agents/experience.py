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

    @classmethod
    def of(cls, problem: Problem, pairs: Vector, returns: Vector) -> Experience:
        """Return what was paid for the pairs of a problem; their shape is `(pairs, 2, groups)`."""
        seen, is_block = observations(problem), problem.graph.is_block
        return cls(problem.name, problem.budget, seen, is_block, pairs[:, 0], returns)


def opposite_pairs(problem: Problem, settings: ExperienceSettings) -> Vector:
    """Draw actions around the heuristic's, beside their opposites; shape `(pairs, 2, groups)`."""
    space, rng = Space(problem, around_heuristic=True), np.random.default_rng(settings.seed)
    nothing = np.zeros(space.size)
    drawn = np.array(
        [space.near(nothing, rng, settings.spread, settings.blocks) for _ in range(settings.pairs)]
    )
    return np.stack([drawn, np.where(problem.graph.is_block, drawn, -drawn)], axis=1)


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
    pairs = opposite_pairs(problem, settings)
    key = combined(
        problem.evaluator.fingerprint,
        problem.reference.plan.key.hex(),
        str(problem.budget),
        settings.model_dump_json(),
        rewards.model_dump_json(),
    )
    paid = store.get(_STORED, key)
    if paid is None:
        space = Space(problem, around_heuristic=True)
        plans = [space.plan(x) for x in pairs.reshape(-1, space.size)]
        measured = problem.evaluator.evaluate_many(plans)
        paid = [reward(problem, one, rewards).total for one in measured]
        store.put(_STORED, key, paid)
    return Experience.of(problem, pairs, np.array(paid).reshape(-1, 2))
