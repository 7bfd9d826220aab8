"""Guided search: what it learns from, what it asks for, and what it is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlprune.agents import guided
from rlprune.agents.evolution import EvolutionAgent
from rlprune.agents.guided import (
    MOST_PROFILED,
    RANKING,
    Candidate,
    Guide,
    GuidedAgent,
    search,
)
from rlprune.agents.space import Space, Vector
from rlprune.allocate.local import neighbours
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem


def told(problem: Problem, score_of: np.ndarray, count: int = 40) -> Guide:
    """Return a guide that was told of plans whose log score is linear in their log-widths."""
    guide, space, rng = Guide(problem, 0), Space(problem, True), np.random.default_rng(0)
    guide._known.clear()
    drawn = [space.near(np.zeros(space.size), rng, 0.3, 0.0) for _ in range(count)]
    candidates = [guide.candidate(x) for x in drawn]
    guide.tell(candidates, [linear(problem, one, score_of) for one in candidates])
    return guide


def linear(problem: Problem, candidate: Candidate, slopes: np.ndarray) -> float:
    ratios = candidate.widths / problem.reference.plan.widths
    return float(np.exp(slopes @ np.log(ratios)))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_it_asks_for_what_it_has_learned_to_be_better(sign: float, plain: Problem) -> None:
    slopes = np.zeros(len(plain.graph.groups))
    slopes[1] = sign
    guide = told(plain, slopes)
    best = min(score for score, _ in guide._known.values())
    asked = guide.ask(4)
    logs = [math.log(linear(plain, one, slopes)) for one in asked]
    assert len(asked) == 4
    assert min(logs) < best  # beyond all that it was told
    assert np.mean(logs) < np.mean([score for score, _ in guide._known.values()])


def test_where_losses_add_up_a_few_plans_show_it(plain: Problem) -> None:
    guide = told(plain, np.zeros(len(plain.graph.groups)), count=5)
    few = [one for _, one in guide._known.values()]
    guide.tell(few, np.exp(guide._guesses(few)[:, 0]).tolist())
    asked = guide.ask(4)
    assert guide._guesses(asked).max() < guide._guesses(few).min()


def test_it_asks_for_nothing_twice_and_for_no_more_than_it_may(fresh_plain: Problem) -> None:
    guide = Guide(fresh_plain, 0)
    seen = set(guide._known)
    for most in (4, 1, 3, 9):
        asked = guide.ask(most)
        keys = {one.widths.tobytes() for one in asked}
        assert len(keys) == len(asked) == min(most, 4)
        assert not keys & seen
        seen |= keys
        guide.tell(asked, [1.0] * len(asked))
    assert guide.ask(0) == []


def test_where_there_is_one_plan_nothing_is_asked_for(problem_of: GetProblem) -> None:
    problem = problem_of("mlp", "macs=0.5")
    alone = np.zeros(len(problem.graph.groups))
    guide = Guide(problem, 0)
    widths = guide.candidate(alone).widths

    def decoded(x: Vector) -> Candidate:
        return Candidate(x, widths)

    guide.candidate = decoded  # type: ignore[method-assign]
    assert guide.ask(4) == []


def test_networks_that_compute_no_numbers_teach_that_they_are_bad(plain: Problem) -> None:
    slopes = np.zeros(len(plain.graph.groups))
    slopes[0] = 1.0
    guide = told(plain, slopes)
    candidates = [one for _, one in guide._known.values()][:10]
    guide.tell(candidates, [math.inf] * len(candidates))
    assert len(guide.ask(4)) == 4
    guide.tell([one for _, one in guide._known.values()], [math.inf] * len(guide._known))
    assert len(guide.ask(4)) == 4  # nothing to tell apart


def test_what_was_measured_around_the_heuristic_may_be_proposed(
    plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is bred: there are the heuristic's plan, its neighbours, and the answer."""
    monkeypatch.setattr(Guide, "ask", lambda *_: [])
    around = [plain.decode(one) for one in neighbours(plain)]
    best = min(around, key=lambda plan: plain.evaluate(plan).score)
    assert plain.evaluate(best).score < plain.reference.score
    bad = np.linspace(-1.0, 1.0, len(plain.graph.groups))
    assert plain.evaluate(Space(plain, True).plan(bad)).score > plain.evaluate(best).score
    assert search(plain, bad, 0, 0, "bad").plan == best


def test_the_heuristic_is_proposed_only_as_an_answer(
    plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guide, "ask", lambda *_: [])
    monkeypatch.setattr(guided, "neighbours", lambda _: [])
    nothing = np.zeros(len(plain.graph.groups))
    assert search(plain, nothing, 0, 0, "same").plan == plain.reference.plan
    bad = np.linspace(-1.0, 1.0, len(plain.graph.groups))
    assert search(plain, bad, 0, 0, "bad").plan == Space(plain, True).plan(bad)


@pytest.mark.parametrize("name", ["plain_cnn", "resnet20"])
def test_the_profile_is_two_for_each_group_up_to_a_limit(name: str, problem_of: GetProblem) -> None:
    problem = problem_of(name, "macs=0.31").ranked_by(RANKING)
    groups = len(problem.graph.groups)
    _ = problem.local_changes
    before = problem.uses()
    proposal = GuidedAgent().propose(problem)
    spent = problem.ledger.since(before)
    assert spent.evaluations == 0
    assert 0 < spent.profile_evaluations <= min(2 * groups, MOST_PROFILED)
    assert proposal.history == ()
    assert problem.evaluate(proposal.plan).score <= problem.reference.score


def test_the_best_of_the_profile_is_the_first_evaluation(fresh_plain: Problem) -> None:
    first = GuidedAgent(seed=2).propose(fresh_plain).plan
    proposal = GuidedAgent(seed=2).propose(fresh_plain, 12)
    assert len(proposal.history) == 12
    assert proposal.history[0] == fresh_plain.evaluate(first).score
    assert fresh_plain.evaluate(proposal.plan).score == proposal.history[-1]


def test_the_seed_decides(plain: Problem) -> None:
    same = [GuidedAgent(seed=4).propose(plain, 20) for _ in range(2)]
    assert same[0] == same[1]
    assert GuidedAgent(seed=5).propose(plain, 20).history != same[0].history


def test_it_finds_more_than_evolution_does_with_as_many_evaluations(
    problem_of: GetProblem,
) -> None:
    problem = problem_of("mobilenetv2", "macs=0.3")
    groups = len(problem.graph.groups)
    found = GuidedAgent().propose(problem, 60).history[-1]
    total = 60 + 2 * groups + min(2 * groups, MOST_PROFILED)  # both profiles count
    assert found < 0.8 * EvolutionAgent().propose(problem, total).history[-1]


def test_it_looks_further_where_all_that_is_near_is_known(plain: Problem) -> None:
    coarse = Problem("coarse", plain.evaluator, plain.data, plain.budget, round_to=4)
    assert len(GuidedAgent().propose(coarse, 60).history) == 60


def test_the_control_pays_for_as_many_profile_plans_as_an_agent(fresh_plain: Problem) -> None:
    """The heuristic's plan, which is its answer, is known already."""
    problem = fresh_plain.ranked_by(RANKING)
    _ = problem.local_changes
    before = problem.uses()
    search(problem, np.zeros(len(problem.graph.groups)), 0, 0, "control")
    assert problem.ledger.since(before).profile_evaluations == 2 * len(problem.graph.groups)


def test_more_evaluations_leave_more_runners_up(fresh_plain: Problem) -> None:
    counts = [len(GuidedAgent().propose(fresh_plain, n).runners_up) for n in (0, 1, 12)]
    assert counts == sorted(counts)
    assert counts[0] > 3
    found = GuidedAgent().propose(fresh_plain, 12)
    scores = [fresh_plain.evaluate(plan).score for plan in (found.plan, *found.runners_up)]
    assert scores == sorted(scores)


def test_channels_are_ranked_for_the_repair(fresh_plain: Problem) -> None:
    plan = GuidedAgent().propose(fresh_plain).plan
    ranked = fresh_plain.ranked_by(RANKING)
    assert plan == Plan.from_widths(ranked.graph, plan.widths)
    assert plan != Plan.from_widths(fresh_plain.graph, plan.widths)
