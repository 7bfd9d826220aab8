"""Soft coefficients on a grid: which points there are, and which of them are evaluated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rlprune.agents.grid import TOLERANCE, Grid, GridAgent
from rlprune.agents.space import stages
from rlprune.agents.trials import Trials
from rlprune.data.splits import DataSplits
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.agents.searching import dense_layers
from tests.conftest import GetProblem


def test_the_points_are_all_combinations_of_removed_fractions(digits: DataSplits) -> None:
    problem = dense_layers(digits, 40, 60)
    grid = Grid(problem, 4)
    removed = {tuple(np.round(1 - kept, 9)) for kept, _ in grid.points()}
    assert removed == set(itertools.product((0.0, 0.25, 0.5, 0.75), repeat=2))
    assert grid.size == 16


def test_what_is_near_the_budget_is_told_by_counted_parameters(digits: DataSplits) -> None:
    problem = dense_layers(digits, 40, 60, budget="params=0.5")
    dense = sum(p.numel() for p in problem.evaluator.model.parameters())
    near = []
    grid = Grid(problem, 8)
    for kept, is_near in grid.points():
        small = grid.as_it_is(kept).apply(problem.evaluator.model)
        share = sum(p.numel() for p in small.parameters()) / dense
        assert is_near == (abs(share - 0.5) <= 0.5 * TOLERANCE + 1e-12)
        near.append(is_near)
    assert grid.near_budget() == sum(near) > 0


def test_stages_share_a_fraction_and_one_block_goes_at_most(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.5")
    graph, grid = problem.graph, Grid(problem, 2)
    points = [kept for kept, _ in grid.points()]
    gone = [tuple(np.flatnonzero(graph.is_block & (kept == 0))) for kept in points]
    assert set(gone) == {(), *((int(b),) for b in np.flatnonzero(graph.is_block))}
    assert len(points) == grid.size == 8 * len(set(gone))


@pytest.mark.parametrize("allowed", [20, 60, 200])
def test_the_finest_grid_that_can_be_paid_for_is_taken(allowed: int, fresh_plain: Problem) -> None:
    screened, every = GridAgent(), GridAgent(screened=False)
    fine, coarse = (one.levels(fresh_plain, allowed) for one in (screened, every))
    count = len(stages(fresh_plain.graph))
    affordable = [levels for levels in range(2, 9) if levels**count < allowed]
    assert coarse == max(affordable, default=0)
    assert Grid(fresh_plain, fine).near_budget() < allowed
    assert fine > coarse
    before = fresh_plain.uses()
    every.propose(fresh_plain, allowed)
    assert fresh_plain.ledger.since(before).evaluations <= coarse**count + 1


def test_unscreened_every_point_is_evaluated_and_only_feasible_ones_are_proposed(
    digits: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = dense_layers(digits, 40, 60, budget="params=0.5")
    asked: list[tuple[list[Plan], list[bool]]] = []
    score = Trials.score

    def watched(self: Trials, plans: list[Plan], feasible: list[bool]) -> list[float]:
        asked.append((plans, feasible))
        return score(self, plans, feasible)

    monkeypatch.setattr(Trials, "score", watched)
    proposal = GridAgent(screened=False).propose(problem, 65)
    ((plans, feasible),) = asked
    assert len(plans) == 65
    assert 1 < sum(feasible) < 20
    usage = [float(problem.budget.usage(problem.costs, plan.widths)) for plan in plans]
    assert all(one <= 1 for one, may in zip(usage, feasible, strict=True) if may)
    assert max(usage) > 1.5
    assert proposal.plan in [plan for plan, may in zip(plans, feasible, strict=True) if may]


def test_a_screened_grid_finds_what_the_unscreened_one_finds_at_less_cost(
    digits: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GridAgent, "levels", lambda *_: 8)
    problems = [dense_layers(digits, 40, 60, budget="params=0.5")]
    problems.append(problems[0].fresh())
    found = [
        GridAgent(screened=screened).propose(problem, 100)
        for screened, problem in zip((True, False), problems, strict=True)
    ]
    assert found[0].plan == found[1].plan
    assert problems[0].ledger.evaluations < problems[1].ledger.evaluations / 4


def test_one_evaluation_is_the_centre(fresh_plain: Problem) -> None:
    for screened in (True, False):
        proposal = GridAgent(screened=screened).propose(fresh_plain, 1)
        assert proposal.plan == fresh_plain.decode(np.ones(len(fresh_plain.graph.groups)))
