"""The heuristic: what it chooses between, what that costs, and what blocks come to."""

from __future__ import annotations

import numpy as np
import pytest

from rlprune.allocate.heuristic import heuristic, sensitivity
from rlprune.allocate.sensitivity import EXPONENTS
from rlprune.cost.budget import inside_removed
from rlprune.envs.walk import changed
from rlprune.models.registry import BUILTIN_NAMES
from rlprune.problem import Problem
from tests.conftest import GetProblem


def test_the_sensitivity_is_the_best_of_the_exponents(fresh_plain: Problem) -> None:
    problem = fresh_plain
    found = sensitivity(problem)
    scores = {
        exponent: problem.evaluate(problem.decode(problem.sensitivity.allocation(exponent))).score
        for exponent in EXPONENTS
    }
    best = min(scores, key=lambda e: scores[e])
    assert (found.allocation == problem.sensitivity.allocation(best)).all()
    assert found.measurement.score == min(scores.values())
    assert problem.decode(found.allocation) == found.plan
    assert problem.ledger.evaluations == 0
    assert problem.ledger.profile_evaluations <= len(problem.graph.groups) + len(EXPONENTS)


@pytest.mark.parametrize("name", BUILTIN_NAMES)
@pytest.mark.parametrize("budget", ["macs=0.5", "macs=0.2"])
def test_the_heuristic_is_the_better_of_two_on_every_network(
    name: str, budget: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name, budget)
    found = problem.reference
    powers = sensitivity(problem).measurement.score
    estimated = problem.evaluate(problem.decode(problem.estimated_widths / problem.graph.widths))
    assert found.measurement.score == min(powers, estimated.score)
    assert problem.decode(found.allocation) == found.plan
    assert problem.budget.usage(problem.costs, found.plan.widths) <= 1
    assert np.isfinite(found.allocation).all()
    assert (found.allocation[~problem.graph.is_block] > 0).all()


def test_it_costs_one_evaluation_more_than_the_sensitivity(fresh_plain: Problem) -> None:
    _ = sensitivity(fresh_plain)
    before = fresh_plain.ledger.profile_evaluations
    _ = heuristic(fresh_plain)
    assert fresh_plain.ledger.profile_evaluations - before in {0, 1}
    assert fresh_plain.ledger.evaluations == 0


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2"])
def test_the_sensitivity_keeps_all_blocks(name: str, problem_of: GetProblem) -> None:
    problem = problem_of(name, "macs=0.2")
    assert problem.graph.bypassed(sensitivity(problem).plan.kept) == []


def test_blocks_that_the_knapsack_removes_can_be_put_back(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.08")
    graph, allocation = problem.graph, problem.reference.allocation
    gone = np.flatnonzero(graph.is_block & (allocation == 0))
    assert len(gone), "this test needs a budget at which a block goes"
    inside = inside_removed(graph, problem.reference.plan.widths)
    assert inside.any()
    assert (allocation[inside] <= 1).all()
    for g in gone:
        actions = np.where(np.arange(len(graph.groups)) == g, -1.0, 0.0)
        again = problem.decode(changed(graph, allocation, actions))
        assert again.widths[g] == 1
        assert problem.budget.usage(problem.costs, again.widths) <= 1
