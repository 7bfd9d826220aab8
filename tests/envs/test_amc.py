"""AMC's decision process: the wall holds whatever is asked for, and the state is AMC's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from rlprune.data.splits import DataSplits
from rlprune.envs.amc import LEAST_KEPT, ActionWall, AMCEnv, amc_reward
from rlprune.envs.amc_state import AMC_STATE
from rlprune.evaluate.evaluator import Evaluator, Measurement
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests import nets
from tests.conftest import GetProblem
from tests.transformer import transformer

NAMES = ("mlp", "plain_cnn", "mobilenetv2", "resnet20", "densenet", "autoencoder")
BUDGETS = ("macs=0.5", "macs=0.2", "params=0.3", "macs=0.6,params=0.4")
COLUMN = {feature.name: i for i, feature in enumerate(AMC_STATE)}
UNMEASURED = Measurement(score=1.0, quality=0.5, macs=1, params=1)


def walk(env: AMCEnv, actions: Sequence[float]) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Play one episode; return all observations and the last info."""
    observation, info = env.reset()
    observations = [observation]
    for action in actions:
        observation, _, done, _, info = env.step(np.array([action], dtype=np.float32))
        observations.append(observation)
    assert done
    return np.array(observations), info


def planned(problem: Problem, actions: Sequence[float]) -> Plan:
    """Return what actions mean, without measuring it."""
    return walled(problem, actions)[1]


def walled(problem: Problem, actions: Sequence[float]) -> tuple[npt.NDArray[np.int64], Plan]:
    """Return the widths that the wall left, and the plan made of them."""
    env = AMCEnv(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Problem, "evaluate", lambda *_: UNMEASURED)
        plan = walk(env, actions)[1]["plan"]
    assert isinstance(plan, Plan)
    return env.wall.widths, plan


def without_wall(wall: ActionWall, group: int, kept: float) -> float:
    """Decide as the wall does, but for the wall."""
    whole, step = int(wall._problem.graph.widths[group]), int(wall._problem.costs.steps[group])
    wall.widths[group] = max(int(kept * whole) // step * step, int(wall.lowest[group]))
    return float(wall.widths[group] / whole)


def kept_by_walk(env: AMCEnv, blocks: float, channels: float) -> list[float]:
    """Return one action for blocks and one for groups of channels, in the order of the walk."""
    return [blocks if env.problem.graph.is_block[g] else channels for g in env.order]


def usage(problem: Problem, widths: npt.ArrayLike) -> float:
    return float(problem.budget.usage(problem.costs, widths))


@pytest.mark.parametrize("name", ["plain_cnn", "resnet20"])
def test_the_checkers_of_gymnasium_and_stable_baselines_pass(
    name: str, problem_of: GetProblem
) -> None:
    check_env(AMCEnv(problem_of(name)), skip_render_check=True)
    check_env_for_sb3(AMCEnv(problem_of(name)), warn=False)  # it would rather have [-1, 1]


@settings(max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    budget=st.sampled_from(BUDGETS),
    seed=st.integers(0, 10_000),
    least=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_whatever_is_asked_for_budget_floors_and_steps_hold(
    name: str, budget: str, seed: int, least: float, problem_of: GetProblem
) -> None:
    problem = problem_of(name, budget)
    graph, costs = problem.graph, problem.costs
    actions = np.random.default_rng(seed).uniform(least, 1.0, len(graph.groups))
    widths, plan = walled(problem, actions.tolist())
    assert usage(problem, widths) <= 1.0
    assert (plan.widths == widths).all()  # the decoder had nothing to mend
    channels = ~graph.is_block
    assert (widths[channels] >= costs.floors[channels]).all()
    assert ((widths % costs.steps == 0) | (widths == graph.widths)).all()


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", NAMES)
def test_without_the_wall_the_same_actions_would_break_the_budget(
    name: str, budget: str, problem_of: GetProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of(name, budget)
    actions = np.random.default_rng(1).uniform(0.7, 1.0, len(problem.graph.groups)).tolist()
    assert usage(problem, walled(problem, actions)[0]) <= 1.0
    monkeypatch.setattr(ActionWall, "decide", without_wall)
    widths, plan = walled(problem, actions)
    assert usage(problem, widths) > 1.0
    assert usage(problem, plan.widths) <= 1.0  # the decoder mends it


@pytest.mark.parametrize("budget", ["macs=0.5", "params=0.3"])
def test_the_wall_cuts_no_deeper_than_it_must(budget: str, problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", budget)
    env = AMCEnv(problem)
    widths = planned(problem, [1.0] * len(env.order)).widths
    cut = [g for g in env.order if widths[g] < problem.graph.widths[g]]
    assert cut
    for g in cut:
        later = env.order[list(env.order).index(g) + 1 :]
        wider = widths.copy()
        wider[later] = env.wall.lowest[later]
        assert usage(problem, wider) <= 1.0
        wider[g] += problem.costs.steps[g]
        assert usage(problem, wider) > 1.0


def test_a_fifth_is_what_every_group_of_channels_keeps_at_least(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20")
    env, graph = AMCEnv(problem), problem.graph
    widths = planned(problem, kept_by_walk(env, 1.0, 0.0)).widths
    expected = np.maximum(np.floor(LEAST_KEPT * graph.widths), graph.floors)
    assert (widths == np.where(graph.is_block, 1, expected)).all()
    assert usage(problem, widths) < 0.5  # and nothing fills the budget up afterwards


def test_brutal_budgets_leave_room_below_a_fifth(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "macs=0.06")
    env, graph = AMCEnv(problem), problem.graph
    assert (env.wall.lowest < LEAST_KEPT * graph.widths).any()
    assert (env.wall.lowest >= graph.floors).all()
    assert usage(problem, env.wall.lowest) <= 1.0
    widths = planned(problem, [1.0] * len(env.order)).widths
    assert usage(problem, widths) <= 1.0


def test_widths_are_multiples_of_what_the_device_takes(digits: DataSplits) -> None:
    problem = Problem.build("plain_cnn", digits, "macs=0.5", measure_latency=False, round_to=8)
    widths = planned(problem, [0.7] * len(problem.graph.groups)).widths
    assert (widths % 8 == 0).all()
    assert usage(problem, widths) <= 1.0


@pytest.mark.parametrize("network", ["ghost", "transformer"])
def test_tied_channels_and_heads_stay_whole(network: str, digits: DataSplits) -> None:
    module = transformer() if network == "transformer" else nets.build(network)
    problem = Problem.build(module, digits, "macs=0.5", measure_latency=False)
    steps = problem.graph.steps
    assert (steps > 1).any()
    for seed in range(5):
        actions = np.random.default_rng(seed).random(len(steps))
        widths = planned(problem, actions.tolist()).widths
        assert (widths % steps == 0).all()
        assert usage(problem, widths) <= 1.0


# Blocks


def test_blocks_come_first_and_go_below_the_threshold(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.4")
    env, is_block = AMCEnv(problem), problem.graph.is_block
    count = int(is_block.sum())
    assert is_block[env.order[:count]].all()
    assert not is_block[env.order[count:]].any()
    actions = kept_by_walk(env, 1.0, 0.6)
    actions[1] = env.block_threshold - 0.01
    actions[2] = env.block_threshold
    widths = planned(problem, actions).widths
    gone = [int(g) for g in env.order[:count] if widths[g] == 0]
    assert gone == [int(env.order[1])]


def test_the_wall_counts_what_removed_blocks_save(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.4")
    env, channels = AMCEnv(problem), ~problem.graph.is_block
    stay = planned(problem, kept_by_walk(env, 1.0, 1.0)).widths
    go = planned(problem, kept_by_walk(env, 0.0, 1.0)).widths
    assert (go[problem.graph.is_block] == 0).all()
    assert (go[channels] >= stay[channels]).all()
    assert go[channels].sum() > stay[channels].sum()


def test_channels_inside_a_block_that_goes_are_left_whole(problem_of: GetProblem) -> None:
    problem = problem_of("mobilenetv2")
    env, graph = AMCEnv(problem), problem.graph
    widths = planned(problem, kept_by_walk(env, 0.0, 0.3)).widths
    inside = graph.names.index("features.7.layers.0")
    assert widths[inside] == graph.widths[inside]
    assert (widths[graph.names.index("features.11")]) < graph.widths[-1 - len(graph.blocks)]


def test_random_actions_remove_one_block_on_average(problem_of: GetProblem) -> None:
    for name in ("mobilenetv2", "resnet56"):
        problem = problem_of(name)
        count = problem.graph.is_block.sum()
        assert AMCEnv(problem).block_threshold * count == pytest.approx(1.0)


# The state


@pytest.mark.parametrize("name", NAMES)
def test_the_state_has_amcs_ten_entries_all_between_0_and_1(
    name: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name)
    env = AMCEnv(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Problem, "evaluate", lambda *_: UNMEASURED)
        seen, _ = walk(env, kept_by_walk(env, 1.0, 0.6))
    assert seen.shape == (len(env.order) + 1, 10)
    assert all(env.observation_space.contains(one) for one in seen)
    static = seen[:-1, :7]
    varies = np.ptp(static, axis=0) > 0
    assert (static[:, varies].min(0) == 0).all()
    assert (static[:, varies].max(0) == 1).all()
    assert (np.diff(static[:, COLUMN["index"]]) > 0).all()


def test_the_state_tells_what_was_saved_what_can_be_and_what_the_wall_left(
    problem_of: GetProblem,
) -> None:
    problem = problem_of("plain_cnn", "params=0.3")
    env = AMCEnv(problem)
    seen, info = walk(env, [0.9, 0.5, 1.0, 1.0, 1.0])
    kept = info["plan"].widths / problem.graph.widths
    previous = seen[:, COLUMN["previous_action"]]
    assert previous[0] == 1.0
    assert previous[1:] == pytest.approx(kept)
    reduced, rest = seen[:, COLUMN["reduced"]], seen[:, COLUMN["rest"]]
    assert reduced[0] == 0.0
    assert (np.diff(reduced[:-1]) > 0).sum() >= 3
    assert reduced[1] == pytest.approx(
        1
        - problem.graph.params_of([info["plan"].widths[0], *problem.graph.widths[1:]])
        / problem.graph.params()
    )
    assert (np.diff(rest[:-1]) < 0).all()
    assert rest[-2] == 0.0


def test_the_layers_are_read_from_the_network(problem_of: GetProblem) -> None:
    problem = problem_of("mobilenetv2")
    env = AMCEnv(problem)
    seen = dict(zip((problem.graph.names[g] for g in env.order), env._states, strict=True))

    def of(layer: str, *names: str) -> list[float]:
        return [float(seen[layer][COLUMN[name]]) for name in names]

    # The stem is the only 3 x 3 convolution, and reads the one channel of the images.
    assert of("features.0", "kernel", "channels_in", "type") == [1.0, 0.0, 0.0]
    # 128 -> 64 channels, where 16 is the least that a layer produces, and 256 the most.
    assert of("features.9.layers.6", "channels_in", "channels_out") == [1.0, 48 / 240]
    assert of("features.11", "weights", "channels_out", "type") == [1.0, 1.0, 0.0]
    assert of("features.7 (block)", "type", "channels_out") == [1.0, 112 / 240]


# The reward


@pytest.mark.parametrize(("name", "unit"), [("plain_cnn", 1.0), ("autoencoder", 10.0)])
def test_the_reward_is_the_quality_and_comes_at_the_end(
    name: str, unit: float, problem_of: GetProblem
) -> None:
    problem = problem_of(name)
    env = AMCEnv(problem)
    env.reset()
    paid = [float(env.step(np.array([0.7], dtype=np.float32))[1]) for _ in env.order[:-1]]
    _, last, done, _, info = env.step(np.array([0.7], dtype=np.float32))
    assert set(paid) == {0.0}
    assert done
    assert last == info["measurement"].quality / unit
    assert info["measurement"] == problem.evaluate(info["plan"])


def test_a_network_that_could_not_be_measured_is_paid_a_finite_sum(plain: Problem) -> None:
    assert amc_reward(plain, Measurement(float("inf"), -float("inf"), 1, 1)) == -1.0


# Latency


class Stepped:
    """Charges every channel the same, and a fine where the first group has 8, 24 ... of them."""

    def kept(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        w = np.asarray(widths, dtype=np.float64)
        odd = np.where(w[..., 0] % 16 == 8, 0.2, 0.0)
        return np.asarray(w.sum(-1) / self.dense + odd)

    dense = 1.0


@pytest.fixture
def charged(plain: Problem) -> Problem:
    latency = Stepped()
    latency.dense = float(plain.graph.widths.sum())
    evaluator = Evaluator(
        plain.evaluator.model,
        plain.graph,
        plain.data,
        latency=latency,
        seed=0,
        device=torch.device("cpu"),
    )
    budget = plain.budget.parse("latency=0.5")
    return Problem("plain_cnn", evaluator, plain.data, budget)


def test_a_latency_budget_holds_too_even_where_wider_is_faster(charged: Problem) -> None:
    for seed in range(20):
        actions = np.random.default_rng(seed).uniform(0.3, 1.0, len(charged.graph.groups))
        assert usage(charged, planned(charged, actions.tolist()).widths) <= 1.0


def test_where_the_wall_fails_the_decoder_has_the_last_word(charged: Problem) -> None:
    env = AMCEnv(charged)
    env.wall.widths = charged.graph.widths.copy()
    plan = env.wall.plan()
    assert usage(charged, plan.widths) <= 1.0
    assert plan == charged.decode(np.ones(len(plan.widths)))
