"""Numeric gradient: differences that see something in every group, and steps that help."""

from __future__ import annotations

import numpy as np
import pytest

from rlprune.agents.gradient import GradientAgent, Slopes
from rlprune.agents.trials import Trials
from rlprune.data.splits import DataSplits
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.agents.searching import dense_layers
from tests.conftest import GetProblem


@pytest.mark.parametrize("rate", [1e-6, 0.05, 0.2])
@pytest.mark.parametrize("budget", ["params=0.5", "params=0.2"])
def test_the_gradient_is_not_zero_in_any_group(
    rate: float, budget: str, digits: DataSplits
) -> None:
    problem = dense_layers(digits, 256, 128, 32, 128, 256, budget=budget)
    with Trials(problem, 100, "gradient") as trials:
        slopes = Slopes(problem, trials)
        centre = problem.decode(np.ones(5))
        gradient, points = slopes.at(slopes.kept(centre), rate)
    assert gradient.shape == (5,)
    assert (gradient != 0).all()
    assert len(points) == 10


@pytest.mark.parametrize("name", ["plain_cnn", "mlp", "vgg"])
def test_both_ends_of_a_difference_differ_in_a_width(name: str, problem_of: GetProblem) -> None:
    problem = problem_of(name, "macs=0.4")
    with Trials(problem, 100, "gradient") as trials:
        slopes = Slopes(problem, trials)
        kept = slopes.kept(problem.decode(np.ones(len(problem.graph.groups))))
        for stage, members in enumerate(slopes._stages):
            up, down = slopes._pair(kept, stage, 1e-6)
            higher, lower = (slopes.plan(point).widths[members] for point in (up, down))
            assert (higher >= lower).all()
            assert (higher > lower).any()


def test_the_slope_is_that_of_a_known_function(
    digits: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = dense_layers(digits, 256, 256, 256)
    weights = np.array([3.0, -1.0, -2.0])

    def score(self: Trials, plans: list[Plan]) -> list[float]:
        return [float(weights @ plan.widths) / 256 for plan in plans]

    monkeypatch.setattr(Trials, "score", score)
    slopes = Slopes(problem, Trials(problem, 100, "gradient"))
    gradient, _ = slopes.at(slopes.kept(problem.decode(np.ones(3))), 0.05)
    # Along the budget: what a group is worth beyond what its share of the cost is worth elsewhere.
    assert gradient[0] > 0 > gradient[2]
    assert gradient[0] > -gradient[1]


def test_an_ascent_ends_better_than_it_began(fresh_plain: Problem) -> None:
    proposal = GradientAgent().propose(fresh_plain, 120)
    assert proposal.history[-1] < 0.9 * proposal.history[0]
    assert fresh_plain.ledger.evaluations <= 120


def test_it_stops_when_steps_are_below_one_channel(fresh_plain: Problem) -> None:
    proposal = GradientAgent().propose(fresh_plain, 10_000)
    assert len(proposal.history) < 400


def test_it_may_start_from_the_heuristic(fresh_plain: Problem) -> None:
    proposal = GradientAgent(around_heuristic=True).propose(fresh_plain, 1)
    assert proposal.plan == fresh_plain.reference.plan


def test_blocks_are_removed_where_that_helps(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.3").fresh()
    kept = np.ones(len(problem.graph.groups))
    block = int(np.flatnonzero(problem.graph.is_block)[1])
    with Trials(problem, 5, "gradient") as trials:
        slopes = Slopes(problem, trials)
        without = slopes._toggled(kept, block)
        assert slopes.plan(without).widths[block] == 0
        assert (slopes._toggled(without, block) == kept).all()


def test_what_cannot_be_scored_gives_no_direction(
    digits: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = dense_layers(digits, 40, 60)
    monkeypatch.setattr(Trials, "score", lambda self, plans: [float("inf")] * len(plans))
    slopes = Slopes(problem, Trials(problem, 10, "gradient"))
    gradient, _ = slopes.at(np.full(2, 0.5), 0.1)
    assert (gradient == 0).all()


def test_a_network_of_one_group_has_nowhere_to_go(digits: DataSplits) -> None:
    problem = dense_layers(digits, 20)
    proposal = GradientAgent().propose(problem, 50)
    assert len(proposal.history) <= 3
