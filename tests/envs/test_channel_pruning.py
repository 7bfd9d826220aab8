"""The environment keeps Gymnasium's contract and pays for what plans are worth."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from rlprune.config import EvaluationSettings, RewardSettings
from rlprune.data.splits import DataSplits
from rlprune.envs import ENV_ID, ChannelPruningEnv
from rlprune.evaluate.evaluator import Evaluator
from rlprune.models.registry import BUILTIN_NAMES, LoadedModel
from rlprune.problem import Problem
from tests.conftest import GetProblem

MAKE = f"rlprune.envs:{ENV_ID}"
NO_LATENCY = RewardSettings(latency=0)


def make(problem: Problem | Sequence[Problem], **options: Any) -> ChannelPruningEnv:
    env = gymnasium.make(MAKE, problem=problem, **{"settings": NO_LATENCY, **options}).unwrapped
    assert isinstance(env, ChannelPruningEnv)
    return env


def play(
    env: ChannelPruningEnv, actions: Sequence[float], **reset: Any
) -> tuple[list[np.ndarray], list[float], dict[str, Any]]:
    """Play one episode; check what holds in every one."""
    observation, _ = env.reset(**reset)
    observations, rewards, info = [observation], [], {}
    for i, action in enumerate(actions):
        observation, reward, terminated, truncated, info = env.step(
            np.array([action], dtype=np.float32)
        )
        observations.append(observation)
        rewards.append(reward)
        assert terminated is (i == len(actions) - 1)
        assert truncated is False
    assert all(env.observation_space.contains(o) for o in observations)
    return observations, rewards, info


def random_actions(problem: Problem, seed: int, bound: float = 1.0) -> list[float]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-bound, bound, len(problem.graph.groups)).tolist()


@pytest.mark.parametrize("name", ["plain_cnn", "resnet20"])
def test_gymnasiums_checker_passes(name: str, problem_of: GetProblem) -> None:
    check_env(make(problem_of(name)))


def test_stable_baselines_checker_passes(plain: Problem) -> None:
    check_env_for_sb3(make(plain))


def test_the_registered_specification_is_json() -> None:
    document = json.loads(gymnasium.spec(ENV_ID).to_json())
    assert document["id"] == ENV_ID
    assert document["entry_point"] == "rlprune.envs.channel_pruning:ChannelPruningEnv"


@pytest.mark.parametrize("folder", ["envs", "agents"])
def test_the_folders_cannot_be_imported_past_the_package(folder: str) -> None:
    with pytest.raises(ImportError, match=f"import rlprune.{folder}, not the folder {folder}/"):
        importlib.import_module(folder)


@pytest.mark.parametrize("name", BUILTIN_NAMES)
@pytest.mark.parametrize("budget", ["macs=0.5", "macs=0.3"])
def test_zero_actions_are_the_heuristic(name: str, budget: str, problem_of: GetProblem) -> None:
    problem = problem_of(name, budget)
    _, rewards, info = play(make(problem), [0.0] * len(problem.graph.groups))
    assert info["plan"] == problem.reference.plan
    assert info["measurement"] == problem.reference.measurement
    assert rewards == [0.0] * len(rewards)
    assert info["reward_terms"] == {"quality": 0.0, "macs": 0.0, "latency": 0.0}


@pytest.mark.parametrize("name", ["plain_cnn", "mobilenetv2", "densenet"])
@pytest.mark.parametrize("shift", [-0.4, 0.3, 0.5])
def test_a_common_shift_of_the_actions_of_all_channels_changes_nothing(
    name: str, shift: float, problem_of: GetProblem
) -> None:
    problem = problem_of(name)
    actions = np.array(random_actions(problem, 1, bound=0.5))
    _, rewards, info = play(make(problem), actions.tolist())
    moved = np.where(problem.graph.is_block, actions, actions + shift)
    _, shifted_rewards, shifted = play(make(problem), moved.tolist())
    assert info["plan"] == shifted["plan"]
    assert rewards == shifted_rewards


def on_blocks(problem: Problem, actions: dict[str, float]) -> list[float]:
    """Zero actions but for some blocks."""
    chosen = {problem.graph.blocks[module]: action for module, action in actions.items()}
    return [chosen.get(g, 0.0) for g in range(len(problem.graph.groups))]


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2"])
def test_an_action_below_the_threshold_removes_a_block_and_the_budget_goes_to_the_others(
    name: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name)
    graph = problem.graph
    first, *_, last = graph.blocks
    actions = on_blocks(problem, {first: -0.31, last: -1.0})
    _, _, info = play(make(problem), actions)
    plan = info["plan"]
    assert graph.bypassed(plan.kept) == [first, last]
    assert info["groups"][graph.names[graph.blocks[first]]] == 0
    assert problem.budget.usage(problem.costs, plan.widths) <= 1
    assert info["measurement"].macs == graph.macs(plan) <= graph.macs() / 2
    heuristic = problem.reference.plan.widths
    assert plan.widths[~graph.is_block].sum() > heuristic[~graph.is_block].sum()


@pytest.mark.parametrize("action", [-0.29, 0.0, 0.7, 1.0])
def test_other_actions_leave_a_block_as_it_is(action: float, problem_of: GetProblem) -> None:
    problem = problem_of("resnet20")
    actions = on_blocks(problem, dict.fromkeys(problem.graph.blocks, action))
    _, rewards, info = play(make(problem), actions)
    assert info["plan"] == problem.reference.plan
    assert rewards[-1] == 0


def test_a_network_that_lost_all_its_blocks_is_still_paid_for(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.3")
    actions = on_blocks(problem, dict.fromkeys(problem.graph.blocks, -1.0))
    _, rewards, info = play(make(problem), actions)
    assert problem.graph.bypassed(info["plan"].kept) == list(problem.graph.blocks)
    assert math.isfinite(rewards[-1])
    assert info["measurement"] == problem.evaluate(info["plan"])


def test_an_action_moves_channels_towards_its_group(plain: Problem) -> None:
    groups = len(plain.graph.groups)
    _, _, info = play(make(plain), [1.0] + [-1.0] * (groups - 1))
    heuristic = plain.reference.plan.widths
    assert info["plan"].widths[0] > heuristic[0]
    assert (info["plan"].widths[1:] <= heuristic[1:]).all()


def test_actions_beyond_the_range_count_as_its_end(plain: Problem) -> None:
    groups = len(plain.graph.groups)
    _, _, far = play(make(plain), [9.0] + [-9.0] * (groups - 1))
    _, _, end = play(make(plain), [1.0] + [-1.0] * (groups - 1))
    assert far["plan"] == end["plan"]


@pytest.mark.parametrize("seed", range(5))
def test_every_episode_meets_the_budget_and_reports_what_it_did(plain: Problem, seed: int) -> None:
    _, rewards, info = play(make(plain), random_actions(plain, seed))
    plan, measured = info["plan"], info["measurement"]
    assert plain.budget.usage(plain.costs, plan.widths) <= 1
    assert measured == plain.evaluate(plan)
    assert info["groups"] == {
        group.name: len(plan.kept[group.name]) / group.width for group in plain.graph.groups
    }
    assert rewards[:-1] == [0.0] * (len(rewards) - 1)
    total = sum(info["reward_terms"].values())
    assert rewards[-1] == pytest.approx(max(-2.0, min(2.0, total)))


def test_the_same_seed_gives_the_same_trajectory(plain: Problem, problem_of: GetProblem) -> None:
    pool = [plain, problem_of("mlp"), problem_of("autoencoder")]

    def trajectory(seed: int) -> list[Any]:
        env, found = make(pool), []
        observation, info = env.reset(seed=seed)
        env.action_space.seed(seed)
        for _ in range(25):
            found.append((info["problem"], observation.tolist()))
            observation, reward, done, _, info = env.step(env.action_space.sample())
            found.append(reward)
            if done:
                observation, info = env.reset()
        return found

    assert trajectory(3) == trajectory(3)
    assert trajectory(3) != trajectory(4)


def test_resets_draw_from_the_whole_pool_and_options_choose(
    plain: Problem, problem_of: GetProblem
) -> None:
    pool = [plain, problem_of("mlp"), problem_of("plain_cnn", "macs=0.3")]
    env = make(pool)
    env.reset(seed=0)
    drawn = [env.reset()[1]["problem"] for _ in range(60)]
    assert {drawn.count(i) > 8 for i in range(3)} == {True}
    for i in range(3):
        _, info = env.reset(options={"problem": i})
        assert info["problem"] == i
        assert env.walk.problem is pool[i]
        _, _, last = play(env, [0.0] * len(pool[i].graph.groups), options={"problem": i})
        assert last["problem"] == i
        assert last["plan"] == pool[i].reference.plan


def test_walks_of_a_pool_do_not_mix(plain: Problem, problem_of: GetProblem) -> None:
    env = make([plain, problem_of("mlp")])
    env.reset(options={"problem": 0})
    env.step(np.array([0.7], dtype=np.float32))
    env.reset(options={"problem": 1})
    observation, _ = env.reset(options={"problem": 0})
    fresh, _ = make(plain).reset()
    assert observation.tolist() == fresh.tolist()


def test_the_text_rendering_shows_the_decisions(plain: Problem) -> None:
    env = make(plain, render_mode="ansi")
    env.reset()
    env.step(np.array([0.5], dtype=np.float32))
    first, second, *_ = env.render().splitlines()
    assert first == f"{plain.graph.names[0]}: +0.50"
    assert second == f"{plain.graph.names[1]}: ?"


# Latency


class PerChannel:
    """Charges every kept channel the same."""

    def kept(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(widths, dtype=np.float64).sum(-1) / 100


@pytest.fixture
def charged(plain: Problem) -> Problem:
    evaluator = Evaluator(
        plain.evaluator.model,
        plain.graph,
        plain.data,
        latency=PerChannel(),
        seed=0,
        device=torch.device("cpu"),
        settings=EvaluationSettings(images=128),
    )
    return Problem("plain_cnn", evaluator, plain.data, plain.budget)


def test_a_slower_plan_is_paid_less(charged: Problem) -> None:
    env = make(charged, settings=RewardSettings(quality=0, macs=0, latency=0.1))
    heuristic = charged.reference.plan.widths.sum()
    seen = []
    for seed in (1, 2):
        _, rewards, info = play(env, random_actions(charged, seed))
        channels = info["plan"].widths.sum()
        assert info["measurement"].latency_kept == pytest.approx(channels / 100)
        assert rewards[-1] == pytest.approx(0.1 * math.log(heuristic / channels))
        assert info["reward_terms"]["latency"] == rewards[-1]
        seen.append((channels, -rewards[-1]))
    assert sorted(seen) == sorted(seen, key=lambda pair: pair[1])
    assert seen[0] != seen[1]


def test_zero_actions_are_paid_nothing_with_latency_too(charged: Problem) -> None:
    _, rewards, info = play(
        make(charged, settings=RewardSettings()), [0.0] * len(charged.graph.groups)
    )
    assert info["measurement"].latency_kept is not None
    assert rewards[-1] == 0


def test_with_weight_zero_latency_does_not_count(charged: Problem) -> None:
    _, _, info = play(make(charged), random_actions(charged, 1))
    assert info["measurement"].latency_kept is not None
    assert info["reward_terms"]["latency"] == 0


def test_a_wrapped_environment_works_through_make(
    digits: DataSplits, loaded: Callable[[str], LoadedModel], plain: Problem
) -> None:
    env = gymnasium.make(MAKE, problem=plain, settings=NO_LATENCY)
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    for _ in plain.graph.groups:
        _, reward, done, _, _ = env.step(np.zeros(1, dtype=np.float32))
    assert done
    assert reward == 0
