"""Whatever an agent is, it keeps to the budget and to its allowance of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from rlprune.agents import (
    STRATEGIES,
    Agent,
    PPOAgent,
    RandomSearchAgent,
    agent_named,
    guided,
    strategy_named,
)
from rlprune.agents.base import WORSE
from rlprune.agents.fallback import FallbackAgent
from rlprune.agents.guided import RANKING
from rlprune.cost.budget import Budget
from rlprune.data.splits import DataSplits
from rlprune.envs import OBSERVATION, Walk
from rlprune.errors import BudgetError
from rlprune.evaluate.evaluator import Evaluator
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests import nets
from tests.agents.conftest import Run
from tests.conftest import GetProblem
from tests.transformer import transformer

Make = Callable[[], Agent]


# One of each family that is not among the strategies, and the policy that was trained before.
OTHERS = ("local-taylor", "global-taylor", "global-l2-lamp")
TRAINED = "a trained policy"


@pytest.fixture(params=[*STRATEGIES, *OTHERS, TRAINED])
def make(request: pytest.FixtureRequest, run: Run) -> Make:
    """Build a new agent of the same seed each time."""
    trained = run.training.agent
    if request.param == TRAINED:
        return lambda: replace(trained, seed=1)
    return lambda: agent_named(request.param, seed=1)


@pytest.mark.parametrize(
    ("name", "budget"),
    [
        ("plain_cnn", "macs=0.2"),
        ("mobilenetv2", "macs=0.6,params=0.3"),
        ("autoencoder", "params=0.5"),
        ("densenet", "macs=0.5"),
        ("resnet20", "macs=0.2"),
    ],
)
def test_plans_meet_the_budget_on_networks_of_every_family(
    make: Make, name: str, budget: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name, budget)
    proposal = make().propose(problem, 2)
    assert proposal.method == make().name
    assert problem.budget.usage(problem.costs, proposal.plan.widths) <= 1
    assert (proposal.plan.widths >= problem.graph.floors).all()


class Priced:
    """Charges every group for its channels, eight at a time."""

    def __init__(self, widths: npt.NDArray[np.int64]) -> None:
        self._prices = np.linspace(1, 2, len(widths)) / widths
        self._dense = self._charged(widths)

    def kept(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(self._charged(np.asarray(widths)) / self._dense)

    def _charged(self, widths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray((-(-widths // 8) * 8) @ self._prices)


def test_a_latency_budget_is_met_too(make: Make, plain: Problem) -> None:
    latency = Priced(plain.graph.widths)
    evaluator = Evaluator(
        plain.evaluator.model,
        plain.graph,
        plain.data,
        latency=latency,
        seed=0,
        device=torch.device("cpu"),
    )
    budget = Budget.parse("latency=0.5,macs=0.6")
    problem = Problem("plain_cnn", evaluator, plain.data, budget)
    plan = make().propose(problem, 4).plan
    assert latency.kept(plan.widths) <= 0.5
    assert plain.graph.macs(plan) <= 0.6 * plain.graph.macs()


def test_tied_channels_are_respected(make: Make, digits: DataSplits) -> None:
    problem = Problem.build(nets.build("ghost"), digits, "macs=0.5", measure_latency=False)
    plan = make().propose(problem, 3).plan
    assert problem.graph.steps[0] == 2
    assert plan.widths[0] % 2 == 0
    plan.apply(problem.evaluator.model)


def test_whole_heads_are_kept_and_the_network_runs(make: Make, digits: DataSplits) -> None:
    problem = Problem.build(transformer(), digits, "macs=0.5", measure_latency=False)
    graph = problem.graph
    plan = make().propose(problem, 3).plan
    heads = [g for g, group in enumerate(graph.groups) if group.kind == "heads"]
    assert heads
    assert (plan.widths[heads] % graph.steps[heads] == 0).all()
    assert (plan.widths[heads] >= graph.steps[heads]).all()
    assert problem.budget.usage(problem.costs, plan.widths) <= 1
    plan.apply(problem.evaluator.model)(problem.evaluator.inputs)


@pytest.mark.parametrize("allowed", [0, 1, 5])
def test_no_more_plans_are_evaluated_than_allowed(
    make: Make, allowed: int, fresh_plain: Problem
) -> None:
    # Profile evaluations are counted apart.
    for known in (fresh_plain, fresh_plain.ranked_by(RANKING)):
        _ = known.local_changes, known.curves
    before = fresh_plain.uses()
    proposal = make().propose(fresh_plain, allowed)
    spent = fresh_plain.ledger.since(before)
    assert spent.evaluations <= allowed
    profiles = proposal.method in {"guided", "ppo"}
    assert spent.profile_evaluations <= 2 * len(fresh_plain.graph.groups) * profiles
    assert len(proposal.history) <= allowed


def test_the_same_seed_proposes_the_same_plan(make: Make, plain: Problem) -> None:
    first, second = make().propose(plain, 6), make().propose(plain, 6)
    assert first.plan == second.plan
    assert first.history == second.history


def test_a_budget_out_of_reach_never_gets_to_an_agent(plain: Problem) -> None:
    with pytest.raises(BudgetError):
        plain.with_budget(Budget.parse("macs=0.001"))


@pytest.mark.parametrize("name", [name for name in STRATEGIES if not strategy_named(name).searches])
def test_who_does_not_search_evaluates_nothing(name: str, fresh_plain: Problem) -> None:
    proposal = agent_named(name).propose(fresh_plain, 5)
    assert fresh_plain.ledger.evaluations == 0
    assert proposal.history == ()


@pytest.mark.parametrize("around_heuristic", [False, True])
def test_random_search_returns_the_best_of_what_it_saw(
    plain: Problem, around_heuristic: bool
) -> None:
    proposal = RandomSearchAgent(seed=5, around_heuristic=around_heuristic).propose(plain, 20)
    assert len(proposal.history) == 20
    assert list(proposal.history) == sorted(proposal.history, reverse=True)
    assert plain.evaluate(proposal.plan).score == proposal.history[-1]
    assert around_heuristic or proposal.history[-1] < proposal.history[0]
    centre = agent_named("sensitivity" if around_heuristic else "uniform")
    assert proposal.history[0] == plain.evaluate(centre.propose(plain).plan).score


@pytest.mark.parametrize("around_heuristic", [False, True])
def test_random_search_tries_networks_without_some_blocks(
    around_heuristic: bool, problem_of: GetProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of("resnet20", "macs=0.4")
    evaluate, seen = Evaluator.evaluate_many, []

    def watched(self: Evaluator, plans: Sequence[Plan], **options: Any) -> object:
        seen.extend(plans)
        return evaluate(self, plans, **options)

    problem.reference  # noqa: B018
    monkeypatch.setattr(Evaluator, "evaluate_many", watched)
    RandomSearchAgent(seed=2, around_heuristic=around_heuristic).propose(problem, 24)
    gone = [len(problem.graph.bypassed(plan.kept)) for plan in seen]
    assert gone[0] == 0
    assert 0.4 < np.mean(gone) < 1.8  # one per draw on average
    assert min(gone[1:]) == 0
    assert all(problem.budget.usage(problem.costs, plan.widths) <= 1 for plan in seen)


def test_another_seed_searches_elsewhere(plain: Problem) -> None:
    histories = {RandomSearchAgent(seed=s).propose(plain, 6).history for s in (1, 2, 3)}
    assert len(histories) == 3


@pytest.mark.parametrize("kind", ["random", "ppo"])
def test_an_interrupted_search_gives_the_best_plan_so_far(
    kind: str, fresh_plain: Problem, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.training.agent.propose(fresh_plain)  # all that is profiled
    evaluate, calls = Evaluator.evaluate_many, []

    def interrupted(self: Evaluator, plans: Sequence[Plan], **options: Any) -> object:
        if not options.get("profile"):
            calls.extend(plans)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(self, plans, **options)

    monkeypatch.setattr(Evaluator, "evaluate_many", interrupted)
    agent: Agent = RandomSearchAgent(seed=1) if kind == "random" else run.training.agent
    proposal = agent.propose(fresh_plain, 50)
    assert len(proposal.history) == 3
    assert proposal.plan in calls[:3]


class TestPPO:
    def test_without_evaluations_nothing_is_made_but_profiles(
        self, run: Run, fresh_plain: Problem
    ) -> None:
        proposal = run.training.agent.propose(fresh_plain)
        assert fresh_plain.ledger.evaluations == 0
        assert (proposal.history, proposal.fallback) == ((), None)

    def test_a_policy_that_wants_no_blocks_gets_a_network_without_them(
        self, run: Run, problem_of: GetProblem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        problem = problem_of("resnet20", "macs=0.3")
        is_block = [feature.name for feature in OBSERVATION].index("block")
        monkeypatch.setattr(PPOAgent, "_action", lambda _, seen: -0.9 * float(seen[is_block]))
        plan = problem.decode(run.training.agent.walk_allocation(Walk(problem)))
        assert problem.graph.bypassed(plan.kept) == list(problem.graph.blocks)
        assert problem.budget.usage(problem.costs, plan.widths) <= 1

    def test_no_evaluation_makes_the_plan_worse_than_the_policys_own(
        self, run: Run, plain: Problem
    ) -> None:
        own = plain.evaluate(run.training.agent.propose(plain).plan).score
        for allowed in (1, 4, 16):
            proposal = run.training.agent.propose(plain, allowed)
            assert list(proposal.history) == sorted(proposal.history, reverse=True)
            assert plain.evaluate(proposal.plan).score <= own

    def test_a_bad_policy_falls_back_on_the_heuristic_and_says_so(
        self, run: Run, plain: Problem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        odd = iter([1.0, -1.0] * 100)
        monkeypatch.setattr(PPOAgent, "_action", lambda *_: next(odd))
        monkeypatch.setattr(guided, "MOST_PROFILED", 1)
        monkeypatch.setattr(guided, "neighbours", lambda _: [])
        agent = run.training.agent
        own, heuristic = agent.propose(plain), agent.ranked(plain).reference
        assert plain.evaluate(own.plan).score > heuristic.score
        assert own.fallback is None
        proposal = FallbackAgent(agent).propose(plain)
        assert proposal.fallback == WORSE
        assert proposal.plan == heuristic.plan
