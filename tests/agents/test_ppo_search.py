"""PPO as a search: within its evaluations, never worse than the heuristic, better with more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rlprune.agents import ppo_search
from rlprune.agents.ppo_search import PPOSearchAgent
from rlprune.agents.training import train_agent
from rlprune.problem import Problem
from tests.conftest import GetProblem


@pytest.mark.parametrize("evaluations", [1, 8, 9])
def test_too_few_evaluations_for_an_update_leave_the_heuristic(
    evaluations: int, fresh_plain: Problem
) -> None:
    proposal = PPOSearchAgent().propose(fresh_plain, evaluations)
    assert proposal.plan == fresh_plain.reference.plan
    assert proposal.fallback
    assert fresh_plain.ledger.evaluations == 0


def test_without_evaluations_a_profile_is_made_and_nothing_else(fresh_plain: Problem) -> None:
    proposal = PPOSearchAgent().propose(fresh_plain, 0)
    assert proposal.plan == fresh_plain.reference.plan
    assert not proposal.fallback
    assert fresh_plain.ledger.evaluations == 0
    assert fresh_plain.ledger.profile_evaluations > 0


@pytest.mark.parametrize(("evaluations", "episodes"), [(10, 8), (17, 8), (18, 16), (200, 192)])
def test_training_takes_whole_updates_and_two_more_evaluations(
    evaluations: int, episodes: int, plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = train_agent([plain], 8)
    asked = []

    def train(_: object, count: int, **__: object) -> object:
        asked.append(count)
        return training

    monkeypatch.setattr(ppo_search, "train_agent", train)
    PPOSearchAgent().propose(plain, evaluations)
    assert asked == [episodes]


@pytest.mark.parametrize("name", ["plain_cnn", "resnet20"])
def test_the_plan_is_the_best_that_was_evaluated_or_profiled(
    name: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name, "macs=0.3").fresh()
    heuristic = problem.reference.measurement.score
    proposal = PPOSearchAgent(seed=1).propose(problem, 34)
    used = problem.uses()
    assert used.evaluations <= 34
    assert len(proposal.history) == 33
    assert list(proposal.history) == sorted(proposal.history, reverse=True)
    score = problem.evaluate(proposal.plan).score
    assert score == min(proposal.history[-1], heuristic)
    assert (proposal.fallback is not None) == (heuristic < proposal.history[-1])
    # Only the plan of the policy before training is not in the history.
    assert proposal.history[-1] == min(used.scores[1:])


def test_a_heuristic_that_nothing_beats_is_proposed_as_such(
    fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = replace(
        fresh_plain.reference, measurement=replace(fresh_plain.reference.measurement, score=0.0)
    )
    monkeypatch.setattr(ppo_search, "train_agent", lambda *_, **__: training)
    training = train_agent([fresh_plain], 8)
    monkeypatch.setitem(vars(fresh_plain), "reference", best)
    proposal = PPOSearchAgent().propose(fresh_plain, 10)
    assert proposal.fallback
    assert proposal.plan == best.plan


def test_seeds_reproduce_and_differ(plain: Problem) -> None:
    runs = [PPOSearchAgent(seed).propose(plain.fresh(), 18) for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0].history != runs[2].history


def test_the_search_gets_better_than_where_it_started(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "macs=0.3").fresh()
    proposal = PPOSearchAgent(seed=0).propose(problem, 82)
    assert not proposal.fallback
    assert problem.evaluate(proposal.plan).score < 0.95 * problem.reference.measurement.score
    assert proposal.history[-1] < proposal.history[7]  # better than all of the first update
