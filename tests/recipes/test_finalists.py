"""Finalists: who is tried, and who wins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from rlprune import api
from rlprune.agents import agent_named
from rlprune.agents.base import Proposal
from rlprune.agents.evolution import EvolutionAgent
from rlprune.api import prune_problem
from rlprune.cost.budget import Budget
from rlprune.cost.confirm import Confirmed
from rlprune.evaluate.evaluator import Evaluator
from rlprune.latency.timing import Ratio
from rlprune.problem import Problem
from rlprune.recipes import finalists
from rlprune.recipes.finalists import best_finalist
from rlprune.surgery.plan import Plan


def test_validation_after_a_short_training_chooses(plain: Problem) -> None:
    narrow, wide = Plan.uniform(plain.graph, 0.1), Plan.uniform(plain.graph, 0.9)
    assert best_finalist(plain, [narrow, wide]) == wide
    assert best_finalist(plain, [wide, narrow]) == wide


def test_of_equals_the_first_by_search_score_wins(
    plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finalists, "_quality", lambda *_: 0.5)
    plans = [Plan.uniform(plain.graph, kept) for kept in (0.3, 0.9)]
    assert best_finalist(plain, plans) == plans[0]


def test_the_best_plans_of_a_search_and_the_heuristics_are_tried(
    fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = EvolutionAgent(seed=1).propose(fresh_plain, 30)
    best = [proposal.plan, *proposal.runners_up]
    scores = [fresh_plain.evaluate(plan).score for plan in best]
    assert scores == sorted(scores)
    assert len(set(plan.key for plan in best)) == len(best) == 16
    tried: list[Plan] = []

    def liked(problem: Problem, plan: Plan, seed: int) -> float:
        tried.append(plan)
        return float(plan == best[1])

    monkeypatch.setattr(finalists, "_quality", liked)
    pruned = prune_problem(fresh_plain, EvolutionAgent(seed=1), 30, finalists=4)
    assert tried == [*best[:3], fresh_plain.reference.plan]
    assert pruned.plan == best[1]
    assert not pruned.proposal.fallback


def test_the_heuristic_may_win_which_is_said(
    fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    heuristic = fresh_plain.reference.plan
    monkeypatch.setattr(finalists, "_quality", lambda _, plan, __: float(plan == heuristic))
    pruned = prune_problem(fresh_plain, EvolutionAgent(seed=1), 30, finalists=2)
    assert pruned.plan == heuristic
    assert "validation preferred" in str(pruned.proposal.fallback)


class Uncovered:
    """Says that a search stood in for it."""

    name = "ppo"

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        found = EvolutionAgent(seed=1).propose(problem, evaluations)
        return replace(found, fallback="the agent knows no such budget")


def test_why_the_agent_was_not_asked_is_not_forgotten(
    fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = EvolutionAgent(seed=1).propose(fresh_plain, 30).runners_up[0]
    monkeypatch.setattr(finalists, "_quality", lambda _, plan, __: float(plan == second))
    pruned = prune_problem(fresh_plain, Uncovered(), 30, finalists=3)
    assert pruned.plan == second
    assert pruned.proposal.fallback == "the agent knows no such budget"


def test_a_guided_search_has_finalists_without_evaluations(fresh_plain: Problem) -> None:
    proposal = agent_named("guided").propose(fresh_plain)
    plans = [proposal.plan, *proposal.runners_up]
    scores = [fresh_plain.evaluate(plan).score for plan in plans]
    assert len(scores) > 3
    assert scores == sorted(scores)


def test_finalists_are_confirmed_before_they_are_tried(
    fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = timed(fresh_plain)
    proposal = EvolutionAgent(seed=1).propose(problem, 30)
    adjusted = {
        plan: Plan.uniform(problem.graph, 0.3 + place / 10)
        for place, plan in enumerate(
            (proposal.plan, *proposal.runners_up[:2], problem.reference.plan)
        )
    }
    slow = proposal.plan
    tried: list[Plan] = []

    def confirmed(plan: Plan, *_: object) -> Confirmed:
        ratio = Ratio(0.6, 0.6, 0.6, 1.0, 1)
        return Confirmed(adjusted[plan], ratio, 0.6, met=plan != slow, attempts=1)

    def liked(problem: Problem, plan: Plan, seed: int) -> float:
        tried.append(plan)
        return float(plan == adjusted[proposal.runners_up[1]])

    monkeypatch.setattr(api, "confirm", confirmed)
    monkeypatch.setattr(finalists, "_quality", liked)
    pruned = prune_problem(problem, EvolutionAgent(seed=1), 30, finalists=4)
    assert tried == [one for plan, one in adjusted.items() if plan != slow]
    assert pruned.proposal.plan == proposal.runners_up[1]
    assert pruned.confirmed is not None
    assert pruned.plan == pruned.confirmed.plan == adjusted[proposal.runners_up[1]]


class ByWidths:
    """Predicts latency from the mean width."""

    def __init__(self, problem: Problem) -> None:
        self._dense = problem.graph.widths.sum()

    def kept(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(np.asarray(widths).sum(axis=-1) / self._dense)


def timed(problem: Problem) -> Problem:
    """Return the problem with a budget of latency, which is not measured for the search."""
    evaluator = Evaluator(
        problem.evaluator.model,
        problem.graph,
        problem.data,
        latency=ByWidths(problem),
        seed=0,
        device=torch.device("cpu"),
    )
    return Problem(problem.name, evaluator, problem.data, Budget.parse("latency=0.6"))


def test_an_interruption_keeps_what_the_search_found(
    fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(finalists, "_quality", interrupted)
    pruned = prune_problem(fresh_plain, EvolutionAgent(seed=1), 10, finalists=2)
    assert pruned.interrupted
    assert pruned.plan == EvolutionAgent(seed=1).propose(fresh_plain, 10).plan


def test_without_finalists_nothing_is_profiled_for_them(fresh_plain: Problem) -> None:
    pruned = prune_problem(fresh_plain, agent_named("uniform"))
    assert (pruned.ledger.evaluations, pruned.ledger.profile_evaluations) == (0, 0)
