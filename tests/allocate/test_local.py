"""Changes of one group at the heuristic's plan: what they are, what they cost, what is stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rlprune.allocate.local import MOST_GROUPS, STEP, changed_groups
from rlprune.cache.store import Store
from rlprune.cost.budget import Budget
from rlprune.data.splits import DataSplits
from rlprune.evaluate.evaluator import Measurement
from rlprune.models.registry import LoadedModel
from rlprune.problem import Problem
from tests.conftest import GetProblem


@pytest.mark.parametrize("budget", ["macs=0.5", "macs=0.08"])
def test_one_group_changes_at_a_time(budget: str, problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", budget)
    graph, centre = problem.graph, problem.reference.allocation
    base = problem.reference.measurement.score + problem.sensitivity.negligible
    for step, found in zip((-STEP, STEP), problem.local_changes, strict=True):
        for g, one in enumerate(found):
            allocation = centre.copy()
            allocation[g] = float(centre[g] == 0) if graph.is_block[g] else centre[g] * np.exp(step)
            score = problem.evaluate(problem.decode(allocation)).score
            assert one == pytest.approx(math.log((score + problem.sensitivity.negligible) / base))


def test_it_takes_two_evaluations_for_each_group_and_none_the_second_time(
    fresh_plain: Problem,
) -> None:
    _ = fresh_plain.reference
    before = fresh_plain.ledger.profile_evaluations
    _ = fresh_plain.local_changes
    spent = fresh_plain.ledger.profile_evaluations - before
    assert 0 < spent <= 2 * len(fresh_plain.graph.groups)
    assert fresh_plain.ledger.evaluations == 0
    _ = fresh_plain.local_changes
    assert fresh_plain.ledger.profile_evaluations == before + spent


def test_of_many_groups_those_that_cost_most_are_changed(problem_of: GetProblem) -> None:
    problem = problem_of("resnet56", "macs=0.3")
    _ = problem.reference
    before = problem.ledger.profile_evaluations
    changes = problem.local_changes
    assert problem.ledger.profile_evaluations - before <= 2 * MOST_GROUPS
    changed = changed_groups(problem.graph)
    assert len(changed) == MOST_GROUPS < len(problem.graph.groups)
    share = problem.graph.removed_share()
    others = np.setdiff1d(np.arange(len(share)), changed)
    assert share[changed].min() >= share[others].max()
    assert not changes[:, others].any()
    assert changes[:, changed].all(axis=0).any()


def test_what_is_stored_is_charged_and_belongs_to_one_budget(
    tmp_path: Path, loaded: Callable[[str], LoadedModel], digits: DataSplits
) -> None:
    def problem() -> Problem:
        model = loaded("plain_cnn")
        return Problem.build(model, digits, "macs=0.4", store=Store(tmp_path))

    first, second = problem(), problem()
    expected = first.local_changes.tolist()
    assert second.local_changes.tolist() == expected
    assert second.ledger.profile_evaluations == first.ledger.profile_evaluations
    other = first.with_budget(Budget.parse("macs=0.2"))
    assert other.local_changes.tolist() != expected


def test_a_change_that_breaks_the_network_is_finite(
    fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = fresh_plain.reference
    broken = replace(fresh_plain.reference.measurement, score=math.inf)

    def evaluate_many(plans: list[object], **_: object) -> list[Measurement]:
        return [broken for _ in plans]

    monkeypatch.setattr(fresh_plain.evaluator, "evaluate_many", evaluate_many)
    changes = fresh_plain.local_changes
    assert np.isfinite(changes).all()
    assert (changes > 1).all()
