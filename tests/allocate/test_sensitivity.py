"""The heuristic: what it measures, what it costs, what it returns."""

from __future__ import annotations

import numpy as np
import pytest

from rlprune.allocate.sensitivity import EXPONENTS, Sensitivity
from rlprune.models.registry import BUILTIN_NAMES
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem


def test_a_profile_scores_each_group_cut_alone_to_half(fresh_plain: Problem) -> None:
    problem = fresh_plain
    scores = problem.sensitivity.scores
    for g, group in enumerate(problem.graph.groups):
        alone = Plan({group.name: group.keep_best(group.norms, group.width // 2)}, problem.graph)
        assert problem.evaluate(alone).score == scores[g]
    # The plans above were all known already.
    assert problem.ledger.evaluations == 0
    assert problem.ledger.profile_evaluations == len(problem.graph.groups)


def test_the_reference_is_the_best_of_the_exponents(fresh_plain: Problem) -> None:
    problem = fresh_plain
    reference = problem.reference
    scores = {
        exponent: problem.evaluate(problem.decode(problem.sensitivity.allocation(exponent))).score
        for exponent in EXPONENTS
    }
    assert reference.exponent == min(scores, key=lambda e: scores[e])
    assert reference.measurement.score == min(scores.values())
    assert problem.decode(reference.allocation) == reference.plan
    assert problem.ledger.evaluations == 0
    assert problem.ledger.profile_evaluations <= len(problem.graph.groups) + len(EXPONENTS)


@pytest.mark.parametrize("name", BUILTIN_NAMES)
@pytest.mark.parametrize("budget", ["macs=0.5", "macs=0.3"])
def test_the_reference_meets_the_budget_on_every_network(
    name: str, budget: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name, budget)
    assert problem.budget.usage(problem.graph, problem.reference.plan.widths) <= 1
    assert np.isfinite(problem.sensitivity.scores).all()


def test_allocations_follow_the_sensitivity() -> None:
    allocation = Sensitivity(np.array([1.0, 4.0, 16.0])).allocation(0.5)
    assert allocation.tolist() == pytest.approx([0.25, 0.5, 1.0])


def test_groups_that_cost_nothing_get_a_small_positive_share() -> None:
    sensitivity = Sensitivity(np.array([0.0, 1.0, 1.0]))
    allocation = sensitivity.allocation(0.5)
    assert allocation[0] == pytest.approx(np.sqrt(sensitivity.negligible))
    assert (Sensitivity(np.zeros(3)).allocation(0.5) == 1).all()
