"""Fewest parameters at equal MACs, among plans that are not absurd."""

from __future__ import annotations

import numpy as np
import pytest

from rlprune.allocate.capacity import DRAWS, SPREAD, fewest_params
from rlprune.allocate.uniform import uniform
from rlprune.cost.budget import Budget
from rlprune.problem import Problem
from tests.conftest import GetProblem


@pytest.mark.parametrize("name", ["plain_cnn", "resnet20", "mobilenetv2"])
@pytest.mark.parametrize("budget", ["macs=0.5", "macs=0.2"])
def test_it_has_far_fewer_parameters_than_uniform_at_the_same_macs(
    name: str, budget: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name, budget)
    graph, plan = problem.graph, fewest_params(problem)
    assert graph.params(plan) < 0.9 * graph.params(uniform(problem))
    assert 0.97 < problem.budget.usage(problem.costs, plan.widths) <= 1
    assert graph.bypassed(plan.kept) == []


def test_no_draw_has_fewer_parameters(plain: Problem) -> None:
    rng = np.random.default_rng(7)
    draws = np.exp(rng.normal(0, SPREAD, (DRAWS, len(plain.graph.groups))))
    counts = [plain.graph.params(plain.decode(draw)) for draw in draws]
    assert plain.graph.params(fewest_params(plain, seed=7)) == min(counts)


def test_a_limit_on_parameters_alone_asks_for_the_most_macs(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "params=0.3")
    graph = problem.graph
    assert graph.macs(fewest_params(problem)) > 1.1 * graph.macs(uniform(problem))
    both = problem.with_budget(Budget.parse("macs=0.3,params=0.9"))
    assert graph.params(fewest_params(both)) < graph.params(uniform(both))


def test_the_seed_decides_and_nothing_is_evaluated(fresh_plain: Problem) -> None:
    plans = [fewest_params(fresh_plain, seed) for seed in (0, 0, 1)]
    assert plans[0] == plans[1] != plans[2]
    assert fresh_plain.ledger.evaluations == fresh_plain.ledger.profile_evaluations == 0
