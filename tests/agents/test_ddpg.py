"""DDPG learns as AMC does: noise, replay, baseline and rates, within its evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from rlprune.agents import ddpg
from rlprune.agents.amc import (
    ACTOR_RATE,
    CRITIC_RATE,
    AMCLearner,
    Episode,
    play,
    random_actions,
    sigma_at,
)
from rlprune.agents.ddpg import DDPGAgent
from rlprune.allocate.uniform import uniform
from rlprune.envs.amc import AMCEnv
from rlprune.evaluate.evaluator import Evaluator
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem


@pytest.fixture
def env(plain: Problem) -> AMCEnv:
    return AMCEnv(plain)


@pytest.fixture
def learner(env: AMCEnv) -> AMCLearner:
    return AMCLearner(env, seed=1)


def played(env: AMCEnv, seed: int) -> Episode:
    return play(env, random_actions(np.random.default_rng(seed)))


def test_noise_decays_by_a_twentieth_an_episode_after_the_random_ones() -> None:
    sigmas = [sigma_at(i, 100) for i in range(100, 800)]
    assert sigmas[0] == 0.5
    assert np.diff(np.log(sigmas)) == pytest.approx(np.log(0.95))
    assert sigmas[45] < 0.05  # nearly deterministic for four fifths of AMC's 800 episodes


@pytest.mark.parametrize("sigma", [0.5, 0.05, 1e-15])
def test_explored_actions_stay_in_range_around_the_actors(
    sigma: float, env: AMCEnv, learner: AMCLearner
) -> None:
    observation, _ = env.reset()
    aim = float(learner.predict(observation, deterministic=True)[0][0])
    act = learner.explore(np.random.default_rng(0), sigma)
    drawn = np.array([act(observation) for _ in range(200)])
    assert drawn.shape == (200, 1)
    assert drawn.dtype == np.float32
    assert (drawn >= 0).all()
    assert (drawn <= 1).all()
    assert abs(drawn - aim).max() <= 5 * sigma + 1e-6
    if sigma == 0.5:
        assert 0.15 < drawn.std() < 0.35  # truncated, not clipped: nothing piles up at the ends
        assert not np.isin(drawn, [0.0, 1.0]).any()


def test_every_replayed_step_of_an_episode_has_its_final_reward(
    env: AMCEnv, learner: AMCLearner
) -> None:
    episodes = [played(env, seed) for seed in (1, 2)]
    for episode in episodes:
        learner.remember(episode)
    steps, replay = len(env.order), learner.replay_buffer
    assert replay.size() == 2 * steps
    rewards = np.repeat([episode.reward for episode in episodes], steps)
    assert replay.rewards[: 2 * steps, 0] == pytest.approx(rewards)
    assert replay.dones[: 2 * steps, 0].tolist() == ([0.0] * (steps - 1) + [1.0]) * 2
    seen = np.concatenate([episode.observations[:-1] for episode in episodes])
    then = np.concatenate([episode.observations[1:] for episode in episodes])
    assert (replay.observations[: 2 * steps, 0] == seen).all()
    assert (replay.next_observations[: 2 * steps, 0] == then).all()
    wanted = np.concatenate([episode.actions for episode in episodes])  # before the wall
    assert replay.actions[: 2 * steps, 0] == pytest.approx(2 * wanted - 1)


def test_a_hundred_episodes_are_replayed(env: AMCEnv, learner: AMCLearner) -> None:
    assert learner.replay_buffer.buffer_size == 100 * len(env.order)


def test_a_moving_average_of_rewards_is_taken_off(env: AMCEnv, learner: AMCLearner) -> None:
    learner.remember(played(env, 1))
    first = learner.replay_buffer.sample(64)
    assert first.rewards.abs().max() < 1e-6  # all are paid alike
    learner.replay_buffer.baseline = 10.0
    paid = learner.replay_buffer.rewards[0, 0]
    assert learner.replay_buffer.sample(64).rewards[0, 0] == pytest.approx(paid - (10 + paid) / 2)
    assert learner.replay_buffer.baseline == pytest.approx((10 + paid) / 2)


def test_networks_and_rates_are_amcs_before_and_after_an_update(
    env: AMCEnv, learner: AMCLearner
) -> None:
    learner.remember(played(env, 1))
    shapes = [tuple(layer.weight.shape) for layer in learner.actor.mu if hasattr(layer, "weight")]
    assert shapes == [(300, 10), (300, 300), (1, 300)]
    assert len(learner.critic.q_networks) == 1
    before = [parameter.detach().clone() for parameter in learner.actor.parameters()]
    learner.train(3, 64)
    after = list(learner.actor.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [group["lr"] for group in learner.actor.optimizer.param_groups] == [ACTOR_RATE]
    assert [group["lr"] for group in learner.critic.optimizer.param_groups] == [CRITIC_RATE]
    assert (learner.gamma, learner.tau) == (1.0, 0.01)


def test_the_actor_learns_to_keep_less_where_that_is_paid(env: AMCEnv, learner: AMCLearner) -> None:
    rng = np.random.default_rng(0)
    seen = env.reset()[0]

    def aim() -> float:
        return float(learner.predict(seen, deterministic=True)[0][0])

    before = aim()
    for _ in range(40):
        episode = played(env, int(rng.integers(1_000)))
        paid = 1.0 - float(np.mean(episode.actions))
        learner.remember(
            Episode(episode.observations, episode.actions, paid, episode.plan, episode.measurement)
        )
    learner.train(200, 64)
    assert aim() < before - 0.05


@pytest.mark.parametrize(
    ("evaluations", "warm_up"), [(800, 100), (400, 100), (200, 50), (5, 1), (3, 0)]
)
def test_random_episodes_are_a_hundred_or_a_quarter(
    evaluations: int, warm_up: int, plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates: list[int] = []
    episode = played(AMCEnv(plain), 1)
    monkeypatch.setattr(ddpg, "play", lambda *_: episode)
    monkeypatch.setattr(AMCLearner, "train", lambda _, steps, __: updates.append(steps))
    DDPGAgent().propose(plain, evaluations)
    assert updates == [len(episode.actions)] * (evaluations - warm_up)


def test_without_evaluations_the_plan_is_uniform_and_unmeasured(fresh_plain: Problem) -> None:
    proposal = DDPGAgent().propose(fresh_plain, 0)
    assert proposal.plan == uniform(fresh_plain)
    assert proposal.history == ()
    assert fresh_plain.ledger.evaluations + fresh_plain.ledger.profile_evaluations == 0


def test_the_plan_is_the_best_paid_of_those_evaluated(
    problem_of: GetProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of("plain_cnn", "macs=0.3").fresh()
    evaluate, seen = Evaluator.evaluate_many, {}

    def watched(self: Evaluator, plans: Sequence[Plan], **options: Any) -> object:
        found = evaluate(self, plans, **options)
        seen.update({plan.key: one for plan, one in zip(plans, found, strict=True)})
        return found

    monkeypatch.setattr(Evaluator, "evaluate_many", watched)
    proposal = DDPGAgent(seed=2).propose(problem, 40)
    assert problem.ledger.evaluations == len(seen) <= 40
    assert problem.ledger.profile_evaluations == 0
    best = max(one.quality for one in seen.values())
    assert seen[proposal.plan.key].quality == best
    assert proposal.history == problem.ledger.best_so_far
    assert proposal.history[-1] == min(one.score for one in seen.values())


def test_seeds_reproduce_and_differ(plain: Problem) -> None:
    runs = [DDPGAgent(seed).propose(plain.fresh(), 16) for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0].history != runs[2].history


def test_an_interruption_keeps_the_best_plan_so_far(
    fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = []

    def interrupted(*_: object) -> None:
        updates.append(1)
        if len(updates) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(AMCLearner, "train", interrupted)
    proposal = DDPGAgent().propose(fresh_plain, 12)
    assert proposal.interrupted
    assert len(proposal.history) == fresh_plain.ledger.evaluations == 5


def test_an_interruption_before_the_first_plan_leaves_nothing_to_propose(
    plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ddpg, "play", interrupted)
    with pytest.raises(KeyboardInterrupt):
        DDPGAgent().propose(plain, 12)


def test_an_autoencoder_is_searched_too(problem_of: GetProblem) -> None:
    problem = problem_of("autoencoder").fresh()
    proposal = DDPGAgent().propose(problem, 12)
    assert problem.budget.usage(problem.costs, proposal.plan.widths) <= 1.0
    assert len(proposal.history) == problem.ledger.evaluations
