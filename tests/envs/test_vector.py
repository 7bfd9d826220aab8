"""Environments side by side: what each would do alone, and plans that are measured together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rlprune.config import RewardSettings
from rlprune.envs import ChannelPruningEnv
from rlprune.envs.vector import PruningVecEnv, measure_together
from rlprune.evaluate.evaluator import Evaluator
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem
from tests.oracles import random_plan

NO_LATENCY = RewardSettings(latency=0)


@pytest.fixture
def pool(problem_of: GetProblem) -> list[Problem]:
    """Three and five groups, one network at two budgets."""
    return [problem_of("mlp"), problem_of("plain_cnn"), problem_of("plain_cnn", "macs=0.3")]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many plans each call of an evaluator got."""
    evaluate, seen = Evaluator.evaluate_many, []

    def watched(self: Evaluator, plans: Sequence[Plan], **options: Any) -> object:
        seen.append(len(plans))
        return evaluate(self, plans, **options)

    monkeypatch.setattr(Evaluator, "evaluate_many", watched)
    return seen


def actions(rounds: int, env: PruningVecEnv) -> np.ndarray:
    shape = (rounds, env.longest, env.num_envs, 1)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def test_each_environment_does_what_it_would_do_alone_but_for_waiting(pool: list[Problem]) -> None:
    env = PruningVecEnv(pool, 4, NO_LATENCY)
    alone = [ChannelPruningEnv(pool, NO_LATENCY) for _ in range(4)]
    env.seed(7)
    seen = env.reset()
    expected = [one.reset(seed=7 + i)[0] for i, one in enumerate(alone)]
    lengths = set()
    for of_round in actions(6, env):
        waits = [env.longest - len(one.walk.problem.graph.groups) for one in alone]
        lengths |= {env.longest - wait for wait in waits}
        for step, of_step in enumerate(of_round):
            for i in range(4):
                shown = np.zeros_like(expected[i]) if step < waits[i] else expected[i]
                assert seen[i].tolist() == shown.tolist()
            seen, rewards, dones, infos = env.step(of_step)
            assert dones.tolist() == [step == env.longest - 1] * 4
            for i, one in enumerate(alone):
                if step < waits[i]:
                    assert rewards[i] == 0
                    continue
                observation, reward, done, _, info = one.step(of_step[i])
                assert done == dones[i]
                assert rewards[i] == np.float32(reward)
                assert info.items() <= {**infos[i], **info}.items()
                if done:
                    assert infos[i]["plan"] == info["plan"]
                    assert infos[i]["measurement"] == info["measurement"]
                    assert infos[i]["terminal_observation"].tolist() == observation.tolist()
                    assert infos[i]["TimeLimit.truncated"] is False
                    observation, _ = one.reset()
                expected[i] = observation
    assert lengths == {3, 5}


def test_siblings_walk_through_the_problem_that_the_first_of_them_drew(
    pool: list[Problem],
) -> None:
    env = PruningVecEnv(pool, 9, NO_LATENCY, siblings=3)
    env.seed(7)
    env.reset()
    drawn = set()
    for of_round in actions(8, env):
        indices = [info["problem"] for info in env.reset_infos]
        assert indices[::3] == indices[1::3] == indices[2::3]
        drawn.add(tuple(indices[::3]))
        for of_step in of_round:
            _, _, dones, infos = env.step(of_step)
        assert dones.all()
        assert [info["problem"] for info in infos] == indices
    assert len(drawn) > 3
    assert any(len(set(indices)) > 1 for indices in drawn)


def test_plans_of_one_network_are_measured_in_one_call(
    pool: list[Problem], calls: list[int]
) -> None:
    env = PruningVecEnv(pool, 8, NO_LATENCY)
    env.seed(7)
    env.reset()
    calls.clear()
    for of_step in actions(1, env)[0]:
        env.step(of_step)
    assert sum(calls) == 8
    assert len(calls) == 2  # both budgets of the second network in one


def test_measurements_come_in_the_order_of_the_plans(pool: list[Problem], calls: list[int]) -> None:
    pairs = [(pool[i % 3], random_plan(pool[i % 3].graph, i)) for i in range(7)]
    measured = measure_together(pairs)
    assert calls == [3, 4]
    assert measured == [problem.evaluate(plan) for problem, plan in pairs]
    assert measure_together([]) == []


def test_a_new_reset_starts_all_over(plain: Problem) -> None:
    env = PruningVecEnv([plain], 2, NO_LATENCY)
    first = env.reset()
    env.step(np.full((2, 1), 0.5, dtype=np.float32))
    assert env.reset().tolist() == first.tolist()
    for of_step in actions(1, env)[0]:
        _, _, dones, _ = env.step(of_step)
    assert dones.all()
