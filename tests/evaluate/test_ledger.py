"""What is counted, and that nothing is evaluated uncounted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

import pytest
from torch import nn

from rlprune.agents.registry import STRATEGIES, agent_named
from rlprune.evaluate.evaluator import Evaluator
from rlprune.evaluate.ledger import Ledger
from rlprune.evaluate.scoring import PlanScorer, Score
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.oracles import random_plan


class Counting:
    """Scores like another scorer and remembers how many plans it was given."""

    def __init__(self, scorer: PlanScorer) -> None:
        self.scorer = scorer
        self.lanes = scorer.lanes
        self.count = 0
        self.is_scoring = False

    def score(self, plans: Sequence[Plan], at_most: float = math.inf) -> list[Score]:
        self.count += len(plans)
        self.is_scoring = True
        found = self.scorer.score(plans, at_most)
        self.is_scoring = False
        return found


def test_the_best_score_so_far_follows_each_evaluation(fresh_plain: Problem) -> None:
    plans = [random_plan(fresh_plain.graph, seed) for seed in (1, 2, 1, 3, 4)]
    scores = [fresh_plain.evaluate(plan).score for plan in plans]
    distinct = [scores[i] for i in (0, 1, 3, 4)]
    ledger = fresh_plain.ledger
    assert ledger.scores == distinct
    assert ledger.best_so_far == tuple(min(distinct[: i + 1]) for i in range(4))
    assert ledger.improvements[0] == (1, scores[0])
    assert ledger.improvements[-1][1] == min(scores)
    assert ledger.seconds > 0


def test_profiles_are_no_part_of_the_curve(fresh_plain: Problem) -> None:
    fresh_plain.sensitivity  # noqa: B018
    assert fresh_plain.ledger.profile_evaluations == len(fresh_plain.graph.groups)
    assert fresh_plain.ledger.best_so_far == ()


def test_only_improvements_that_are_numbers_are_kept() -> None:
    ledger = Ledger(scores=[math.inf, 3.0, 3.0, 4.0, 2.0])
    assert ledger.best_so_far == (math.inf, 3.0, 3.0, 3.0, 2.0)
    assert ledger.improvements == ((2, 3.0), (5, 2.0))


def test_a_copy_does_not_move_and_can_be_subtracted(fresh_plain: Problem) -> None:
    fresh_plain.evaluate(random_plan(fresh_plain.graph, 1))
    before = fresh_plain.uses()
    found = fresh_plain.evaluate(random_plan(fresh_plain.graph, 2))
    assert len(before.scores) == 1
    since = fresh_plain.ledger.since(before)
    assert since.scores == [found.score]
    assert since.seconds == pytest.approx(fresh_plain.ledger.seconds - before.seconds)


def test_seconds_add_up_and_do_not_tell_ledgers_apart() -> None:
    total = Ledger.total([Ledger(1, 2, 3, 0.5, [1.0]), Ledger(1, 0, 0, 1.0)])
    assert total == Ledger(2, 2, 3)
    assert total.seconds == 1.5
    assert total.scores == []


@pytest.mark.parametrize("name", [*STRATEGIES, "local-taylor", "global-taylor", "global-l2-lamp"])
def test_no_strategy_evaluates_outside_the_ledger(
    name: str, fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator, allowed = fresh_plain.evaluator, 24
    counting = Counting(evaluator.scorer)
    evaluator.scorer = counting

    def refused(*_: object) -> NoReturn:
        raise AssertionError("a network was made and not counted")

    def counted(plan: Plan, model: nn.Module) -> nn.Module:
        return apply(plan, model) if counting.is_scoring else refused()

    apply = Plan.apply
    monkeypatch.setattr(Plan, "apply", counted)
    monkeypatch.setattr(Evaluator, "validate", refused)
    agent_named(name, seed=0).propose(fresh_plain, allowed)
    ledger = fresh_plain.ledger
    assert counting.count == ledger.evaluations + ledger.profile_evaluations
    assert ledger.evaluations == len(ledger.scores) <= allowed
