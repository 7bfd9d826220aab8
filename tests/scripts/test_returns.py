"""What policies are paid without training: the untrained nothing, whatever it is shown."""

from __future__ import annotations

import numpy as np
import pytest
import returns

from rlprune.agents import PPOAgent
from rlprune.agents.policy import new_policy
from rlprune.config import PPOSettings, RewardSettings
from rlprune.envs import Walk
from rlprune.envs.observation.table import group_features, network_features, stacked
from rlprune.problem import Problem

REWARDS = RewardSettings(macs=0, latency=0)


@pytest.fixture(scope="module")
def untrained() -> PPOAgent:
    settings = PPOSettings(hidden=8, ranking="l2")
    return PPOAgent(new_policy(settings), settings, REWARDS, {}, {})


def test_the_untrained_policy_is_the_heuristic_whatever_it_is_shown(
    plain: Problem, untrained: PPOAgent
) -> None:
    rng = np.random.default_rng(0)
    assert returns.of_policy(plain, untrained, REWARDS) == pytest.approx(0)
    assert returns.of_shuffled(plain, untrained, REWARDS, rng, 2) == pytest.approx(0)
    assert returns.of_unwatched(plain, untrained, REWARDS) == pytest.approx(0)


def test_chance_is_paid_what_its_actions_reach(plain: Problem) -> None:
    drawn, walk = np.random.default_rng(5), Walk(plain)
    found = []
    for _ in range(2):
        walk.restart()
        while not walk.done:
            walk.act(float(drawn.uniform(-1, 1)))
        found.append(returns.paid(plain, walk, REWARDS))
    assert len(set(found)) == 2
    paid = returns.of_chance(plain, REWARDS, np.random.default_rng(5), 2)
    assert paid == pytest.approx(np.mean(found))


def test_shuffling_shows_groups_the_features_of_others_and_the_network_as_it_is(
    plain: Problem, untrained: PPOAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    def watched(problem: Problem, agent: PPOAgent, rewards: RewardSettings, seen: object) -> float:
        shown.append(seen)
        return 1.0

    monkeypatch.setattr(returns, "of_policy", watched)
    rng = np.random.default_rng(3)
    assert returns.of_shuffled(plain, untrained, REWARDS, rng, 4) == 1.0
    groups, network = group_features(plain), network_features(plain)
    again = np.random.default_rng(3)
    expected = [stacked(groups[again.permutation(len(groups))], network) for _ in range(4)]
    assert all(np.array_equal(a, b) for a, b in zip(shown, expected, strict=True))
    assert not all(np.array_equal(one, stacked(groups, network)) for one in shown)
