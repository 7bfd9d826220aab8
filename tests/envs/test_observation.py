"""Observations mean the same for every network: fixed length, finite, bounded, informative."""

from __future__ import annotations

import numpy as np
import pytest

from rlprune.envs import BUDGET_FEATURES, GROUP_FEATURES, OBSERVATION, STEP_FEATURES, Walk
from rlprune.envs.observation import BOUND, budget_features, group_features
from rlprune.models.registry import BUILTIN_NAMES
from rlprune.problem import Problem
from tests.conftest import GetProblem

G = [feature.name for feature in GROUP_FEATURES]


def column(problem: Problem, name: str) -> dict[str, float]:
    values = group_features(problem)[:, G.index(name)]
    return dict(zip(problem.graph.names, values.tolist(), strict=True))


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
    assert stacked.dtype == np.float32
    assert np.isfinite(stacked).all()
    assert (np.abs(stacked) <= BOUND).all()


def test_names_are_unique_and_every_entry_has_a_meaning() -> None:
    names = [feature.name for feature in OBSERVATION]
    assert len(set(names)) == len(names)
    assert all(feature.meaning for feature in OBSERVATION)
    assert len(OBSERVATION) == 3 * len(GROUP_FEATURES) + len(STEP_FEATURES) + len(BUDGET_FEATURES)


def test_the_budget_is_seen(problem_of: GetProblem) -> None:
    first, second = (
        Walk(problem_of("plain_cnn", b)).observation() for b in ("macs=0.5", "macs=0.3")
    )
    assert not np.array_equal(first, second)
    features = budget_features(problem_of("plain_cnn", "macs=0.5,params=0.25"))
    assert features[:2].tolist() == pytest.approx([np.log(2), np.log(4)])
    assert budget_features(problem_of("plain_cnn", "macs=0.5"))[1] == 0


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
    assert max(column(problem_of("densenet"), "consumers").values()) > 2


def test_widths_and_shares_are_those_of_the_graph(plain: Problem) -> None:
    widths = {group.name: np.log2(group.width / 8) for group in plain.graph.groups}
    assert column(plain, "width") == pytest.approx(widths)
    shares = plain.graph.removed_share().tolist()
    assert list(column(plain, "macs_share").values()) == pytest.approx(shares)
    kept = (plain.reference.plan.widths / plain.graph.widths).tolist()
    assert list(column(plain, "heuristic_kept").values()) == pytest.approx(kept)


def test_sensitivity_ranks_follow_the_profile(plain: Problem) -> None:
    ranks = list(column(plain, "sensitivity_rank").values())
    assert np.argsort(ranks).tolist() == np.argsort(plain.sensitivity.scores).tolist()
    assert (min(ranks), max(ranks)) == (0.0, 1.0)
