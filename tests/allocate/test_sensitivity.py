"""The sensitivity: what it measures, what it costs, which allocations it means."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlprune.allocate.sensitivity import EXPONENTS, Sensitivity, profile
from rlprune.cache.store import NoStore, Store
from rlprune.config import EvaluationSettings
from rlprune.data.splits import DataSplits
from rlprune.evaluate.evaluator import Evaluator, Measurement
from rlprune.evaluate.scoring import PlanScorer
from rlprune.graph.group_graph import GroupGraph
from rlprune.models.registry import LoadedModel
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem


def test_a_profile_scores_each_group_cut_alone_to_half(fresh_plain: Problem) -> None:
    problem = fresh_plain
    scores = problem.sensitivity.scores
    for g, group in enumerate(problem.graph.groups):
        alone = Plan({group.name: group.keep_best(group.scores, group.width // 2)}, problem.graph)
        assert problem.evaluate(alone).score == scores[g]
    # The plans above were all known already.
    assert problem.ledger.evaluations == 0
    assert problem.ledger.profile_evaluations == len(problem.graph.groups)


def test_a_block_is_profiled_by_removing_it(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20")
    graph = problem.graph
    assert graph.is_block.any()
    for g in np.flatnonzero(graph.is_block):
        alone = Plan({graph.names[g]: []}, graph)
        assert problem.evaluate(alone).score == problem.sensitivity.scores[g]


class Broken(Evaluator):
    """Scores nothing but the groups named as infinitely bad."""

    def __init__(self, graph: GroupGraph, worthless: Sequence[str], scorer: PlanScorer) -> None:
        self.graph = graph
        self.scorer = scorer
        self.fingerprint = "broken"
        self._worthless = worthless

    def evaluate_many(self, plans: Sequence[Plan], **_: object) -> list[Measurement]:
        return [Measurement(self._score(plan), 0.0, 1, 1) for plan in plans]

    def _score(self, plan: Plan) -> float:
        cut = next(g for g in self.graph.groups if len(plan.kept[g.name]) < g.width)
        return math.inf if cut.name in self._worthless else float(len(cut.name))


def test_infinite_scores_become_the_largest_finite_one_and_blocks_spare_channels(
    problem_of: GetProblem,
) -> None:
    evaluator = problem_of("resnet20").evaluator
    graph, scorer = evaluator.graph, evaluator.scorer
    block = graph.names[next(iter(graph.blocks.values()))]
    sound = profile(Broken(graph, (), scorer), NoStore())
    for worthless in ([block], [graph.names[0]], [block, graph.names[0]]):
        found = profile(Broken(graph, worthless, scorer), NoStore())
        assert np.isfinite(found.scores).all()
        channels = ~graph.is_block
        assert found.scores[channels].max() == sound.scores[channels].max()
        assert found.scores[graph.names.index(block)] <= sound.scores.max()
    everything = profile(Broken(graph, graph.names, scorer), NoStore())
    assert everything.scores.tolist() == [1.0] * len(graph.groups)


def of_channels(*scores: float) -> Sensitivity:
    return Sensitivity(np.array(scores), np.zeros(len(scores), dtype=bool))


def test_allocations_follow_the_sensitivity() -> None:
    allocation = of_channels(1.0, 4.0, 16.0).allocation(0.5)
    assert allocation.tolist() == pytest.approx([0.25, 0.5, 1.0])


def test_groups_that_cost_nothing_get_a_small_positive_share() -> None:
    sensitivity = of_channels(0.0, 1.0, 1.0)
    allocation = sensitivity.allocation(0.5)
    assert allocation[0] == pytest.approx(np.sqrt(sensitivity.negligible))
    assert (of_channels(0.0, 0.0, 0.0).allocation(0.5) == 1).all()


@given(
    scores=st.lists(st.floats(0, 1e3), min_size=1, max_size=6),
    blocks=st.lists(st.floats(0, 1e30), max_size=4),
    exponent=st.sampled_from(EXPONENTS),
)
def test_blocks_stay_and_change_nothing_for_channels(
    scores: list[float], blocks: list[float], exponent: float
) -> None:
    alone = of_channels(*scores)
    is_block = np.array([False] * len(scores) + [True] * len(blocks))
    together = Sensitivity(np.array(scores + blocks), is_block)
    allocation = together.allocation(exponent)
    assert allocation[: len(scores)].tolist() == alone.allocation(exponent).tolist()
    assert together.relative[: len(scores)].tolist() == alone.relative.tolist()
    assert together.negligible == alone.negligible
    assert (allocation[len(scores) :] == 1).all()


def test_a_network_of_blocks_alone_has_an_allocation() -> None:
    sensitivity = Sensitivity(np.array([1.0, 2.0]), np.array([True, True]))
    assert sensitivity.allocation(0.5).tolist() == [1.0, 1.0]
    assert np.isfinite(np.log(sensitivity.relative)).all()


# What is stored


def stored(model: LoadedModel, data: DataSplits, folder: Path, **changed: Any) -> Problem:
    return Problem.build(model, data, measure_latency=False, store=Store(folder), **changed)


def test_a_stored_profile_is_the_measured_one_and_is_charged_like_it(
    tmp_path: Path, loaded: Callable[[str], LoadedModel], digits: DataSplits
) -> None:
    first, second = (stored(loaded("plain_cnn"), digits, tmp_path) for _ in range(2))
    expected = first.sensitivity.scores.tolist()

    def unexpected(*_: object) -> None:
        raise AssertionError("measured again")

    second.evaluator.scorer.score = unexpected  # type: ignore[assignment,method-assign]
    assert second.sensitivity.scores.tolist() == expected
    assert second.ledger == first.ledger
    assert second.ledger.profile_evaluations == len(expected)


@pytest.mark.parametrize(
    "change", ["weights", "samples", "number of samples", "precision", "forward"]
)
def test_a_profile_of_anything_else_is_measured_again(
    change: str, tmp_path: Path, loaded: Callable[[str], LoadedModel], digits: DataSplits
) -> None:
    network = loaded("plain_cnn")
    _ = stored(network, digits, tmp_path).sensitivity
    settings: dict[str, Any] = {}
    if change == "weights":
        network = replace(network, module=copy.deepcopy(network.module))
        with torch.no_grad():
            next(network.module.parameters()).flatten()[0] += 1e-3
    elif change == "forward":
        other = copy.deepcopy(network.module)
        other.register_forward_hook(lambda module, inputs, outputs: 2 * outputs)
        network = replace(network, module=other)
    elif change == "samples":
        settings["seed"] = 1
    elif change == "number of samples":
        settings["evaluation"] = EvaluationSettings(images=100)
    else:
        settings["evaluation"] = EvaluationSettings(precision="float16")
    again = stored(network, digits, tmp_path, **settings)
    before = len(list(tmp_path.iterdir()))
    assert len(again.sensitivity.scores) == len(again.graph.groups)
    assert len(list(tmp_path.iterdir())) == before + 1
