"""Pretraining: the policy finds what made-up experience hides, on networks it was not shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rlprune.agents.experience import Experience
from rlprune.agents.policy import new_policy
from rlprune.agents.pretraining import Pretrained, pretrain
from rlprune.config import PPOSettings, PretrainingSettings
from rlprune.cost.budget import Budget
from rlprune.envs.observation.table import MEASURED_AT, OBSERVATION, STEP_AT
from rlprune.envs.walk import BLOCK_THRESHOLD

BUDGET = Budget.parse("macs=0.5")
CURVATURE, NOISE = 2.0, 0.05
PAIRS, PROBLEMS = 24, 300
FIT = PretrainingSettings(epochs=20, batch=8, learning_rate=3e-3, caution=1)
PPO = PPOSettings(hidden=32)


def made_up(
    number: int, *, slope: float = 0.6, channels: int | None = None, blocks: int | None = None
) -> Experience:
    """The second feature of a group says what its action should be, or whether a block should go.

    Returns are those of the best actions plus noise.
    """
    rng = np.random.default_rng(number)
    channels = int(rng.integers(2, 9)) if channels is None else channels
    blocks = int(rng.integers(0, 4)) if blocks is None else blocks
    groups = channels + blocks
    is_block = np.arange(groups) >= channels
    seen = rng.uniform(-1, 1, (groups, len(OBSERVATION))).astype(np.float32)
    seen[:, 2:] *= 0.1
    seen[:, 0] = is_block
    seen[:, STEP_AT] = 0
    actions = rng.normal(0, 0.25, (PAIRS, groups))
    actions[:, is_block] = np.where(rng.random((PAIRS, blocks)) < 0.5, -0.6, 0.0)
    best = slope * seen[:, 1]

    def paid(x: np.ndarray) -> float:
        moved = x[~is_block] - x[~is_block].mean()
        gone = is_block & (x < BLOCK_THRESHOLD)
        smooth = CURVATURE * (best[~is_block] @ moved - moved @ moved / 2)
        return float(smooth + slope * seen[gone, 1].sum() + rng.normal(0, NOISE))

    pairs = [(paid(x), paid(np.where(is_block, x, -x))) for x in actions]
    return Experience(f"network-{number // 2}", BUDGET, seen, is_block, actions, np.array(pairs))


@pytest.fixture(scope="module")
def found() -> list[Experience]:
    return [made_up(number) for number in range(PROBLEMS)]


@pytest.fixture(scope="module")
def fitted(found: list[Experience]) -> Pretrained:
    return pretrain(found, FIT, PPO)


def answers(policy: torch.nn.Module, seen: np.ndarray) -> np.ndarray:
    actions, _ = policy.predict(seen, deterministic=True)  # type: ignore[operator]
    return np.asarray(actions)[:, 0]


def test_the_policy_answers_what_the_returns_of_other_networks_say(
    fitted: Pretrained,
) -> None:
    lost, possible = 0.0, 0.0
    for number in range(1000, 1020):
        new = made_up(number, channels=8, blocks=0)
        actions, best = answers(fitted.policy, new.seen), 0.6 * new.seen[:, 1]
        lost += float((actions - best).var())
        possible += float(best.var())
    assert lost < 0.35 * possible


def test_it_changes_the_blocks_that_are_better_changed(fitted: Pretrained) -> None:
    new = made_up(1000, channels=2, blocks=200)
    worth, changed = new.seen[2:, 1], answers(fitted.policy, new.seen)[2:] < BLOCK_THRESHOLD
    assert changed[worth > 0.5].mean() > 0.8
    assert changed[worth < -0.5].mean() < 0.2


def test_the_networks_kept_aside_tell_what_it_gains(fitted: Pretrained) -> None:
    gains = fitted.gains
    assert len(gains) == FIT.epochs + 1
    assert abs(gains[0]) < 0.05
    assert max(gains) > 0.1


def test_where_there_is_nothing_to_learn_it_hardly_leaves_the_heuristic() -> None:
    nothing = [made_up(number, slope=0.0) for number in range(PROBLEMS)]
    policy = pretrain(nothing, FIT, PPO).policy
    for number in range(1000, 1005):
        actions = answers(policy, made_up(number, channels=8, blocks=0).seen)
        assert abs(actions - actions.mean()).max() < 0.15


def test_no_epochs_are_the_untrained_policy(found: list[Experience]) -> None:
    policy = pretrain(found, PretrainingSettings(epochs=0), PPO).policy
    assert (answers(policy, found[0].seen) == 0).all()


def test_a_seed_gives_the_same_policy_again(found: list[Experience]) -> None:
    few = PretrainingSettings(epochs=2)
    one, same, other = (pretrain(found, few, PPO, seed=seed) for seed in (1, 1, 2))
    assert one.gains == same.gains != other.gains
    for a, b in zip(one.policy.parameters(), same.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_network_with_one_group_tells_nothing_and_harms_nothing(
    found: list[Experience],
) -> None:
    single = made_up(7, channels=1, blocks=0)
    gains = pretrain([*found, replace(single, network="single")], FIT, PPO).gains
    assert np.isfinite(gains).all()
    assert max(gains) > 0.1


def test_caution_makes_changes_of_channels_smaller(found: list[Experience]) -> None:
    bold, cautious = (
        pretrain(found, FIT.model_copy(update={"caution": caution}), PPO).policy
        for caution in (1.0, 3.0)
    )
    seen = np.concatenate([made_up(n, channels=8, blocks=0).seen for n in range(1000, 1010)])
    assert 0.2 < answers(cautious, seen).std() / answers(bold, seen).std() < 0.6


def test_descriptions_seen_faintly_do_not_hide_what_was_measured() -> None:
    """Few networks that look unlike one another: a policy could learn each of them by heart."""
    measured, network = MEASURED_AT[1], STEP_AT.stop

    def moved(one: Experience, looks: np.random.Generator) -> Experience:
        seen = looks.uniform(-1, 1, one.seen.shape).astype(np.float32)
        seen[:, network:] = seen[0, network:]
        seen[:, STEP_AT] = 0
        seen[:, measured] = one.seen[:, 1]
        return replace(one, seen=seen)

    rng = np.random.default_rng(0)
    few = [moved(made_up(n, channels=6, blocks=0), rng) for n in range(30)]
    new = [moved(made_up(n, channels=6, blocks=0), rng) for n in range(1000, 1020)]

    def lost(scale: float) -> float:
        ppo = PPO.model_copy(update={"description_scale": scale})
        fit = FIT.model_copy(update={"epochs": 60})
        policy = pretrain(few, fit, ppo).policy
        wrong = [answers(policy, one.seen) - 0.6 * one.seen[:, measured] for one in new]
        return float(np.mean([(one - one.mean()) ** 2 for one in wrong]))

    assert lost(0.02) < 0.7 * lost(1.0)


def test_the_policy_starts_at_the_heuristic() -> None:
    seen = np.ones((3, len(OBSERVATION)), dtype=np.float32)
    assert (answers(new_policy(PPO), seen) == 0).all()
