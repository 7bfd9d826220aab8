"""Observations mean the same for every network: fixed length, finite, bounded, informative."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlprune.allocate.knapsack import least_loss
from rlprune.allocate.profiles import width_at
from rlprune.allocate.sensitivity import Sensitivity
from rlprune.data.splits import DataSplits
from rlprune.dynamics.probe import HeldOut, probe
from rlprune.envs import OBSERVATION, Walk
from rlprune.envs.observation.dynamics import DYNAMICS
from rlprune.envs.observation.layers import layers_of
from rlprune.envs.observation.network import NETWORK
from rlprune.envs.observation.table import (
    GROUP,
    NEIGHBOURS,
    STEP,
    group_features,
    network_features,
    observation_space,
)
from rlprune.graph.trace import trace
from rlprune.models.registry import BUILTIN_NAMES
from rlprune.problem import Problem
from tests import nets
from tests.conftest import GetProblem
from tests.transformer import transformer

G = [feature.name for feature in GROUP]
N = [feature.name for feature in NETWORK]


def column(problem: Problem, name: str) -> dict[str, float]:
    values = group_features(problem)[:, G.index(name)]
    return dict(zip(problem.graph.names, values.tolist(), strict=True))


def of_network(problem: Problem) -> dict[str, float]:
    return dict(zip(N, network_features(problem).tolist(), strict=True))


@pytest.mark.parametrize("budget", ["macs=0.5", "macs=0.3,params=0.4"])
@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_every_observation_is_complete_finite_and_bounded(
    name: str, budget: str, problem_of: GetProblem
) -> None:
    walk = Walk(problem_of(name, budget))
    rng = np.random.default_rng(0)
    seen = [walk.observation()]
    while not walk.done:
        walk.act(float(rng.uniform(-1, 1)))
        seen.append(walk.observation())
    stacked = np.stack(seen)
    assert stacked.shape == (len(walk.problem.graph.groups) + 1, len(OBSERVATION))
    assert all(observation_space().contains(one) for one in stacked)


def test_names_are_unique_and_every_entry_has_a_meaning() -> None:
    names = [feature.name for feature in OBSERVATION]
    assert len(set(names)) == len(names)
    assert all(feature.meaning and feature.unit for feature in OBSERVATION)
    assert all(feature.low < feature.high for feature in OBSERVATION)
    seen = 1 + 2 * NEIGHBOURS + 2  # groups, means, standard deviations
    assert len(OBSERVATION) == seen * len(GROUP) + len(STEP) + len(NETWORK)


def test_the_budget_is_seen(problem_of: GetProblem) -> None:
    first, second = (
        Walk(problem_of("plain_cnn", b)).observation() for b in ("macs=0.5", "macs=0.3")
    )
    assert not np.array_equal(first, second)
    features = of_network(problem_of("plain_cnn", "macs=0.5,params=0.25"))
    assert features["macs_budget"] == pytest.approx(np.log(2))
    assert features["params_budget"] == pytest.approx(np.log(4))
    assert of_network(problem_of("plain_cnn", "macs=0.5"))["params_budget"] == 0


def test_past_actions_are_seen(plain: Problem) -> None:
    names = [feature.name for feature in OBSERVATION]
    walk = Walk(plain)
    for action in (0.5, -0.25):
        walk.act(action)
    seen = dict(zip(names, walk.observation().tolist(), strict=True))
    assert seen["previous_action"] == -0.25
    assert seen["mean_action"] == pytest.approx(0.125)
    assert seen["macs_decided"] == pytest.approx(plain.graph.removed_share()[:2].sum() / 2)


def test_roles_tell_the_networks_structures_apart(problem_of: GetProblem) -> None:
    assert set(column(problem_of("mlp"), "linear").values()) == {1.0}
    assert set(column(problem_of("mlp"), "convolution").values()) == {0.0}
    assert set(column(problem_of("plain_cnn"), "depthwise").values()) == {0.0}
    assert max(column(problem_of("mobilenetv2"), "depthwise").values()) == 1.0
    residual = column(problem_of("resnet20"), "producers")
    assert residual[problem_of("resnet20").graph.names[0]] > 0
    assert min(residual.values()) == 0
    assert max(column(problem_of("densenet"), "consumers").values()) > 1  # more than four


@pytest.fixture(scope="module")
def attention(digits: DataSplits) -> Problem:
    return Problem.build(transformer(), digits, "macs=0.5", measure_latency=False)


def test_blocks_are_seen_for_what_they_are(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20")
    graph = problem.graph
    assert list(column(problem, "block").values()) == graph.is_block.astype(float).tolist()
    for name, expected in (
        ("convolution", 1),
        ("linear", 0),
        ("normalised", 1),
        ("producers", 0.5),
    ):
        found = column(problem, name)
        assert {found[graph.names[g]] for g in graph.blocks.values()} == {expected}
    for module, g in graph.blocks.items():
        assert column(problem, "macs_share")[graph.names[g]] == pytest.approx(
            column(problem, "macs_share")[f"{module}.conv1"]
        )
    ranks = np.array(list(column(problem, "sensitivity_rank").values()))
    for kind in (graph.is_block, ~graph.is_block):
        assert sorted(ranks[kind].tolist()) == pytest.approx(np.linspace(0, 1, kind.sum()).tolist())


@pytest.mark.parametrize("name", [name for name in BUILTIN_NAMES if name != "resnet56"])
def test_depth_is_the_place_of_the_first_operation_in_forward_order(
    name: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name)
    graph, depth = problem.graph, column(problem_of(name), "depth")
    channels = [depth[g] for g, block in zip(graph.names, graph.is_block, strict=True) if not block]
    assert channels == sorted(channels)
    assert channels[0] == 0
    assert channels[-1] < 1  # the output comes after
    for module, g in graph.blocks.items():
        inside = [depth[n] for n in graph.names if n.startswith(f"{module}.")]
        assert all(depth[graph.names[g]] <= place for place in inside)
    in_order = [depth[graph.names[g]] for g in graph.blocks.values()]
    assert in_order == sorted(in_order)


def test_heads_are_counted_as_units_and_read_like_linear_layers(attention: Problem) -> None:
    names = ("blocks.0.qkv", "blocks.1.qkv")
    for feature, expected in (("linear", 1.0), ("block", 0.0), ("floor", 1 / 4)):
        assert {column(attention, feature)[name] for name in names} == {expected}
    lowest = column(attention, "lowest_quarter")
    assert all(0 < lowest[name] <= 1 / 4 for name in names)  # one head in four
    blocks = ("blocks.0 (block)", "blocks.1 (block)")
    assert {column(attention, "linear")[name] for name in blocks} == {1.0}
    assert {column(attention, "normalised")[name] for name in blocks} == {1.0}
    assert {column(attention, "producers")[name] for name in blocks} == {1.0}  # of four layers


def test_layers_are_read_by_what_they_do_and_not_by_the_place_of_a_dimension() -> None:
    graph = trace(nets.build("transposed"), nets.images(2))
    down, up = layers_of(graph)
    assert (down.producers, down.consumers, down.convolutions) == (1, 1, 1.0)
    assert (up.producers, up.consumers, up.depthwise) == (1, 1, True)
    assert down.log_positions == 4  # 4 x 4 of both layers
    ghost = layers_of(trace(nets.build("ghost"), nets.images(2)))[0]
    assert (ghost.producers, ghost.consumers, ghost.depthwise) == (2, 2, True)


@settings(max_examples=20)
@given(scores=st.lists(st.floats(0, 1e30), min_size=19, max_size=19))
def test_features_are_finite_however_bad_a_block_is(
    scores: list[float], problem_of: GetProblem
) -> None:
    problem = copy.copy(problem_of("resnet20"))
    is_block = problem.graph.is_block
    problem._sensitivity = lambda: Sensitivity(np.array(scores), is_block)
    problem.__dict__.pop("estimated_curves", None)
    problem.__dict__["reference"] = problem_of("resnet20").reference
    assert observation_space().contains(Walk(problem).observation())


def test_widths_and_shares_are_those_of_the_graph(plain: Problem) -> None:
    widths = {group.name: np.log2(group.width / 32) / 2 for group in plain.graph.groups}
    assert column(plain, "width") == pytest.approx(widths)
    shares = plain.graph.removed_share().tolist()
    assert list(column(plain, "macs_share").values()) == pytest.approx(shares)
    kept = (plain.reference.plan.widths / plain.graph.widths).tolist()
    assert list(column(plain, "heuristic_kept").values()) == pytest.approx(kept)


def test_sensitivity_ranks_follow_the_profile(plain: Problem) -> None:
    ranks = list(column(plain, "sensitivity_rank").values())
    assert np.argsort(ranks).tolist() == np.argsort(plain.sensitivity.scores).tolist()
    assert (min(ranks), max(ranks)) == (0.0, 1.0)


def test_neighbours_are_seen_and_missing_ones_are_zeros(plain: Problem) -> None:
    width, groups = len(GROUP), group_features(plain)
    seen = Walk(plain)
    for i in range(len(groups)):
        blocks = seen.observation()[: width * (1 + 2 * NEIGHBOURS)].reshape(-1, width)
        for block, place in zip(blocks, (0, -2, -1, 1, 2), strict=True):
            there = 0 <= i + place < len(groups)
            expected = groups[i + place] if there else np.zeros(width)
            assert block.tolist() == expected.tolist()
        seen.act(0.0)


def test_the_knapsack_is_seen_beside_the_heuristic(plain: Problem) -> None:
    kept = least_loss(plain.costs, plain.budget, plain.estimated_curves) / plain.graph.widths
    ratios = np.log(kept) - np.log(list(column(plain, "heuristic_kept").values()))
    seen = list(column(plain, "knapsack").values())
    assert seen == pytest.approx(ratios.tolist(), abs=1e-5)
    assert not np.allclose(ratios, 0)
    halves = [width_at(plain.graph, g, 0.5) for g in range(len(kept))]
    losses = plain.estimated_curves[np.arange(len(kept)), halves]
    assert losses == pytest.approx(plain.sensitivity.scores)


def test_a_network_that_nobody_watched_says_so_and_shows_neutral_values(plain: Problem) -> None:
    assert plain.dynamics is None
    names = [feature.name for feature in DYNAMICS]
    assert all(set(column(plain, name).values()) == {0.0} for name in names)
    seen = of_network(plain)
    assert [seen[name] for name in N[N.index("watched") :]] == [0.0] * 10


def test_dynamics_are_those_of_the_layers_that_write_and_read_a_group(plain: Problem) -> None:
    problem = copy.copy(plain)
    record = probe(HeldOut.of(plain.evaluator.model, plain.data, plain.evaluator.task))
    problem.dynamics = record
    assert set(column(problem, "recorded").values()) == {1.0}
    layers = layers_of(problem.graph)
    logs = []
    for name, one in zip(problem.graph.names, layers, strict=True):
        assert one.written[0] == f"{name}.weight"
        (reader,) = one.read
        known = record.by_weight[reader].activations
        assert known is not None
        assert column(problem, "apoz")[name] == pytest.approx(known.apoz)
        gradients = record.by_weight[f"{name}.weight"].gradients
        assert gradients is not None
        logs.append(gradients.log_rms)
    centred = np.array(logs) - np.mean(logs)
    assert list(column(problem, "log_rms").values()) == pytest.approx(centred.tolist(), abs=1e-5)
    traits = record.data
    assert traits is not None
    assert of_network(problem)["classes"] == pytest.approx(1.0)
    assert of_network(problem)["dense_error"] == pytest.approx(traits.dense_error, abs=1e-6)
    assert of_network(problem)["watched"] == 0
