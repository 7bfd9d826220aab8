"""What a search spends: every distinct plan once, never more than allowed, whatever the lanes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from rlprune.agents import trials
from rlprune.agents.base import Proposal
from rlprune.agents.space import Space
from rlprune.agents.trials import Trials
from rlprune.evaluate.evaluator import Evaluator
from rlprune.evaluate.scoring import PlanScorer, Score
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.agents.searching import SEARCHES
from tests.conftest import GetProblem
from tests.oracles import random_plan


@pytest.fixture
def plans(plain: Problem) -> list[Plan]:
    return [random_plan(plain.graph, seed) for seed in range(6)]


def test_a_plan_is_paid_for_once(fresh_plain: Problem, plans: list[Plan]) -> None:
    with Trials(fresh_plain, 10, "search") as spent:
        first = spent.score([plans[0], plans[1], plans[0]])
        again = spent.score([plans[1]])
        assert spent.left == 8
    assert first[0] == first[2]
    assert again == [first[1]]
    assert fresh_plain.ledger.evaluations == len(spent.history) == 2


def test_what_is_beyond_the_allowance_is_worth_nothing(
    fresh_plain: Problem, plans: list[Plan]
) -> None:
    with Trials(fresh_plain, 4, "search") as spent:
        scores = spent.score(plans)
        assert not spent.open
        assert spent.score(plans[:1]) == scores[:1]
    assert all(map(math.isfinite, scores[:4]))
    assert scores[4:] == [math.inf] * 2
    assert fresh_plain.ledger.evaluations == 4
    assert spent.proposal().plan == plans[scores.index(min(scores))]


def test_what_may_not_be_proposed_is_paid_for_all_the_same(
    fresh_plain: Problem, plans: list[Plan]
) -> None:
    with Trials(fresh_plain, 10, "search") as spent:
        scores = spent.score(plans[:3], [False, True, False])
    assert spent.proposal().plan == plans[1]
    assert spent.history == [math.inf, scores[1], scores[1]]
    assert fresh_plain.ledger.evaluations == 3


def test_a_search_that_finds_nothing_new_is_over(plain: Problem, plans: list[Plan]) -> None:
    with Trials(plain, 10, "search") as spent:
        for _ in range(trials._MOST_STALLS + 1):
            assert spent.open
            spent.score(plans[:1])
        assert not spent.open


def test_a_search_without_a_plan_has_nothing_to_propose(plain: Problem) -> None:
    with Trials(plain, 10, "search") as spent:
        pass
    with pytest.raises(ValueError, match="at least one plan"):
        spent.proposal()


class Lanes:
    """Scores as another does, so many plans at a time; remembers how many it was asked for."""

    def __init__(self, scorer: PlanScorer, lanes: int) -> None:
        self.lanes, self._scorer = lanes, scorer
        self.counts: list[int] = []

    def score(self, plans: Sequence[Plan], at_most: float = math.inf) -> list[Score]:
        self.counts.append(len(plans))
        return self._scorer.score(plans)


@pytest.mark.parametrize("kind", SEARCHES)
def test_lanes_share_the_work_and_change_no_result(kind: str, fresh_plain: Problem) -> None:
    _ = fresh_plain.reference
    evaluator, scorer = fresh_plain.evaluator, fresh_plain.evaluator.scorer
    found: list[Proposal] = []
    for count in (1, 3):
        evaluator._cache.clear()
        evaluator.scorer = lanes = Lanes(scorer, count)
        found.append(SEARCHES[kind](1).propose(fresh_plain, 40))
        assert max(lanes.counts) == count
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", SEARCHES)
def test_without_evaluations_the_centre_is_proposed_unmeasured(
    kind: str, fresh_plain: Problem
) -> None:
    proposal = SEARCHES[kind](1).propose(fresh_plain, 0)
    around_heuristic = kind in ("evolution", "cmaes", "nsga2")
    assert proposal.plan == fresh_plain.decode(Space(fresh_plain, around_heuristic).centre)
    assert proposal.history == ()
    assert fresh_plain.ledger.evaluations == 0


@pytest.mark.parametrize("budget", ["macs=0.5", "params=0.3", "macs=0.6,params=0.3"])
@pytest.mark.parametrize("kind", SEARCHES)
def test_all_that_is_found_meets_the_budget_and_the_best_of_it_is_proposed(
    kind: str, budget: str, problem_of: GetProblem
) -> None:
    problem = problem_of("plain_cnn", budget).fresh()
    _ = problem.reference
    proposal = SEARCHES[kind](2).propose(problem, 30)
    for plan in (proposal.plan, *proposal.front):
        assert problem.budget.usage(problem.costs, plan.widths) <= 1
        assert (plan.widths >= problem.graph.floors).all()
    assert 1 <= len(proposal.history) <= 30
    assert problem.ledger.evaluations <= 30
    assert problem.evaluate(proposal.plan).score == proposal.history[-1] == min(proposal.history)


@pytest.mark.parametrize("kind", SEARCHES)
def test_an_interrupted_search_gives_the_best_of_what_it_saw(
    kind: str, fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = fresh_plain.reference
    evaluate, seen = Evaluator.evaluate_many, []

    def interrupted(self: Evaluator, plans: Sequence[Plan], **options: Any) -> object:
        if len(seen) == 7:  # one lane: plan by plan
            raise KeyboardInterrupt
        seen.extend(plans)
        return evaluate(self, plans, **options)

    monkeypatch.setattr(Evaluator, "evaluate_many", interrupted)
    proposal = SEARCHES[kind](1).propose(fresh_plain, 60)
    monkeypatch.undo()
    assert proposal.interrupted
    assert len(proposal.history) == 7
    assert proposal.plan in seen
    assert fresh_plain.evaluate(proposal.plan).score == proposal.history[-1]


@pytest.mark.parametrize("kind", SEARCHES)
def test_an_interruption_before_the_first_score_goes_on(
    kind: str, fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = fresh_plain.reference

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Evaluator, "evaluate_many", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SEARCHES[kind](1).propose(fresh_plain, 60)
