"""The surrogate pays nothing for the heuristic's plan, and as a potential changes no sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench_experience import first, unpaired
from gymnasium import spaces
from surrogate import CreditedSteps, CreditedVecEnv, surrogate_experience, surrogate_return

from rlprune.agents.experience import gather
from rlprune.cache.store import NoStore
from rlprune.config import ExperienceSettings, RewardSettings
from rlprune.envs.observation.table import OBSERVATION
from rlprune.envs.vector import PruningVecEnv
from rlprune.problem import Problem
from tests.conftest import GetProblem

REWARDS = RewardSettings(macs=0, latency=0)


def test_the_heuristics_plan_is_paid_nothing_and_a_wider_one_more(plain: Problem) -> None:
    widths = plain.reference.plan.widths
    assert surrogate_return(plain, widths) == 0
    assert surrogate_return(plain, plain.graph.widths) > 0


def test_surrogate_experience_is_drawn_like_the_measured_and_evaluates_nothing(
    fresh_plain: Problem,
) -> None:
    settings = ExperienceSettings(pairs=6, seed=4)
    found = surrogate_experience(fresh_plain, settings, REWARDS)
    assert fresh_plain.ledger.evaluations == 0
    measured = gather(fresh_plain, settings, REWARDS, NoStore())
    assert np.array_equal(found.actions, measured.actions)
    agreement = np.corrcoef(found.returns.ravel(), measured.returns.ravel())[0, 1]
    assert agreement > 0.3


def test_credit_changes_steps_and_no_sum(problem_of: GetProblem) -> None:
    pool = [problem_of("plain_cnn", "macs=0.4"), problem_of("mlp", "macs=0.5")]
    sums = []
    for kind in (PruningVecEnv, CreditedVecEnv):
        env = kind(pool, 4, REWARDS, siblings=2)
        env.seed(1)
        env.reset()
        rng, steps = np.random.default_rng(0), []
        for _ in range(env.longest):
            _, paid, done, _ = env.step(rng.uniform(-1, 1, (4, 1)).astype(np.float32))
            steps.append(paid)
        assert done.all()
        sums.append(np.sum(steps, axis=0))
        early = np.abs(steps[:-1]).sum()
        assert (early > 0) == (kind is CreditedVecEnv)
    assert sums[0] == pytest.approx(sums[1], abs=1e-5)


def test_a_credited_step_is_compared_with_the_same_step_of_its_siblings() -> None:
    seen, act = spaces.Box(0, 1, (len(OBSERVATION),)), spaces.Box(-1, 1, (1,))
    buffer = CreditedSteps(3, seen, act, n_envs=4, siblings=2, gamma=1.0, gae_lambda=1.0)
    buffer.rewards[:] = np.arange(12, dtype=np.float32).reshape(3, 4) ** 2
    buffer.compute_returns_and_advantage(torch.zeros(4), np.ones(4))
    left = buffer.rewards[::-1].cumsum(axis=0)[::-1]
    assert buffer.advantages[:, 0] == pytest.approx(left[:, 0] - left[:, 1])
    assert buffer.advantages[:, 3] == pytest.approx(left[:, 3] - left[:, 2])


def test_plans_tried_for_themselves_are_compared_with_the_mean(plain: Problem) -> None:
    whole = surrogate_experience(plain, ExperienceSettings(pairs=5), REWARDS)
    alone = unpaired(whole)
    own = np.concatenate([whole.returns[:, 0], whole.returns[:, 1]])
    assert alone.returns.mean(1) == pytest.approx(own)
    differences = (alone.returns[:, 0] - alone.returns[:, 1]) / 2
    assert differences == pytest.approx(own - own.mean())
    assert len(first(whole, 2).actions) == len(first(whole, 2).returns) == 2
