"""A search over many plans: what is saved must not show in what is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import pytest

from rlprune.agents.base import best_of
from rlprune.data.splits import DataSplits
from rlprune.evaluate import batches
from rlprune.evaluate.evaluator import Evaluator
from rlprune.evaluate.scoring import PlanScorer, Score
from rlprune.models.registry import LoadedModel
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem, exact_problem
from tests.oracles import random_plan


class Lanes:
    """Scores as another does, so many plans at a time; remembers what it was asked and answered."""

    def __init__(self, scorer: PlanScorer, lanes: int, stops_early: bool = True) -> None:
        self.lanes, self._scorer, self._stops_early = lanes, scorer, stops_early
        self.calls: list[tuple[int, float]] = []
        self.found: list[Score] = []

    def score(self, plans: Sequence[Plan], at_most: float = math.inf) -> list[Score]:
        self.calls.append((len(plans), at_most))
        scores = self._scorer.score(plans, at_most if self._stops_early else math.inf)
        self.found += scores
        return scores


@pytest.fixture
def in_batches(
    monkeypatch: pytest.MonkeyPatch,
    digits: DataSplits,
    loaded: Callable[[str], LoadedModel],
) -> Problem:
    """A problem whose 215 search images take seven forward passes."""
    monkeypatch.setattr(batches, "MOST_SAMPLES", 32)
    return exact_problem(loaded("plain_cnn"), digits)


def test_lanes_and_early_stops_change_neither_the_plan_nor_the_history(in_batches: Problem) -> None:
    evaluator, scorer = in_batches.evaluator, in_batches.evaluator.scorer
    plans = [random_plan(in_batches.graph, seed) for seed in range(20)]
    proposals, bounds = [], []
    for lanes, stops_early in [(1, False), (1, True), (2, True), (7, True)]:
        evaluator._cache.clear()
        evaluator.scorer = watched = Lanes(scorer, lanes, stops_early)
        proposals.append(best_of(in_batches, iter(plans), len(plans), "search"))
        bounds.append(sum(score.is_bound for score in watched.found))
        assert [count for count, _ in watched.calls] == chunks(len(plans), lanes)
        history = proposals[-1].history
        starts = range(lanes, len(plans), lanes)
        assert [least for _, least in watched.calls] == [
            math.inf,
            *(history[start - 1] for start in starts),
        ]
    assert all(proposal == proposals[0] for proposal in proposals)
    assert len(proposals[0].history) == 20
    assert bounds[0] == 0
    assert min(bounds[1:]) > 5  # most plans are worse than the best one and stop on the way


def chunks(count: int, size: int) -> list[int]:
    whole, rest = divmod(count, size)
    return [size] * whole + [rest] * (rest > 0)


def test_plans_are_drawn_only_when_they_are_evaluated(plain: Problem) -> None:
    drawn = 0

    def plans() -> Iterator[Plan]:
        nonlocal drawn
        for seed in range(3):
            drawn += 1
            yield random_plan(plain.graph, seed)
        raise KeyboardInterrupt

    proposal = best_of(plain, plans(), 50, "search")
    assert drawn == len(proposal.history) == 3
    assert proposal.interrupted


def test_an_interruption_before_the_first_score_leaves_nothing_to_propose(
    plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Evaluator, "evaluate_many", interrupted)
    with pytest.raises(KeyboardInterrupt):
        best_of(plain, iter([random_plan(plain.graph, 1)]), 1, "search")


def test_a_plan_that_cannot_be_scored_is_proposed_only_when_it_is_the_only_one(
    problem_of: GetProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of("mlp")
    infinite, good = (random_plan(problem.graph, seed) for seed in (1, 2))
    real = problem.evaluate(good)
    monkeypatch.setattr(
        Evaluator,
        "evaluate_many",
        lambda _, plans, at_most: [
            real if plan == good else type(real)(math.inf, 0.0, 1, 1) for plan in plans
        ],
    )
    assert best_of(problem, iter([infinite, good, infinite]), 3, "search").plan == good
    assert best_of(problem, iter([infinite]), 1, "search").plan == infinite
