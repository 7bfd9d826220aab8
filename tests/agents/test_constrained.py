"""The smallest network that keeps what is asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rlprune
from rlprune.agents.base import Agent, Proposal
from rlprune.agents.constrained import STEPS, Smallest, smallest
from rlprune.agents.registry import STRATEGIES, agent_named
from rlprune.errors import ConstraintError
from rlprune.evaluate.constraints import Constraint, Requirements
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem


def found(
    problem: Problem, *texts: str, agent: str | Agent = "uniform", evaluations: int = 0
) -> Smallest:
    evaluator = problem.evaluator
    parsed = [Constraint.parse(text) for text in texts]
    checks = Requirements(parsed, evaluator.model, problem.data.validation, evaluator.task)
    chosen = agent_named(agent) if isinstance(agent, str) else agent
    return smallest(problem, chosen, checks, evaluations)


def validated(problem: Problem, kept: float) -> float:
    """Quality of the uniform network at a kept fraction of the MACs, on validation."""
    there = problem.with_budget(problem.budget.with_limit("macs", kept))
    plan = agent_named("uniform").propose(there).plan
    return problem.evaluator.validate(problem.evaluator.repaired(plan), problem.data.validation)


@pytest.mark.parametrize("wanted", [14.0, 17.0])
def test_an_autoencoder_gets_as_small_as_its_psnr_allows(
    wanted: float, problem_of: GetProblem
) -> None:
    problem = problem_of("autoencoder", "macs=1")
    result = found(problem, f"psnr_db>={wanted}")
    assert result.is_met
    assert result.outcomes[0].reached >= wanted
    # A grid over the whole range finds nothing that is feasible and clearly smaller.
    grid = np.geomspace(problem.costs.reachable("macs") + 1e-9, 1.0, 25)
    feasible = [kept for kept in grid if validated(problem, kept) >= wanted]
    step = grid[1] / grid[0]
    assert result.kept <= min(feasible) * 1.02
    assert result.kept >= min(feasible) / step


def test_the_worst_class_asks_for_another_network_than_the_average(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "macs=1")
    average, worst = (found(problem, f"{name}>=0.9") for name in ("accuracy", "worst_recall"))
    assert worst.proposal.plan != average.proposal.plan
    assert worst.kept > average.kept
    small = problem.evaluator.repaired(average.proposal.plan)
    checks = Requirements(
        [Constraint.parse("worst_recall>=0.9")],
        problem.evaluator.model,
        problem.data.validation,
        problem.evaluator.task,
    )
    assert not checks.check(small)[0].is_met


@pytest.mark.parametrize("agent", [*STRATEGIES, "local-taylor", "global-l2"])
def test_every_strategy_keeps_constraint_and_budget(agent: str, problem_of: GetProblem) -> None:
    problem = problem_of("mlp", "macs=0.9,params=0.95")
    evaluations = 24 if agent == "ddpg" else 4  # a few random networks, of which none may do
    result = found(problem, "worst_recall>=0.8", agent=agent, evaluations=evaluations)
    assert result.is_met
    assert problem.budget.usage(problem.costs, result.proposal.plan.widths) <= 1
    assert result.kept < 0.9


def test_all_constraints_hold_at_once(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "macs=1")
    alone = [found(problem, text).kept for text in ("accuracy>=0.8", "worst_recall>=0.8")]
    both = found(problem, "accuracy>=0.8", "worst_recall>=0.8")
    assert both.kept == pytest.approx(max(alone))


def test_what_costs_nothing_is_met_by_the_smallest_network_there_is(
    problem_of: GetProblem,
) -> None:
    problem = problem_of("plain_cnn", "macs=1")
    result = found(problem, "accuracy>=0")
    assert result.kept == problem.costs.reachable("macs")


def test_nothing_feasible_is_an_error_that_says_what_is_reached(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "macs=0.1")
    with pytest.raises(ConstraintError, match=r"uniform network at macs=0\.1 .* dense network"):
        found(problem, "accuracy>=0.95")


def test_a_larger_network_that_is_worse_does_not_matter(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "macs=1")
    asked: list[float] = []

    class Fickle:
        """Answers with the dense network below 0.2, where it may not, and above 0.5."""

        name = "fickle"

        def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
            kept = problem.budget.limit("macs")
            asked.append(kept)
            narrow = Plan.from_widths(problem.graph, problem.graph.floors)
            return Proposal(Plan({}, problem.graph) if kept > 0.5 else narrow, self.name)

    result = found(problem, "accuracy>=0.9", agent=Fickle())
    assert result.is_met
    assert asked[0] == 1.0
    assert len(asked) <= STEPS + 2
    low = max(kept for kept in asked if kept <= 0.5)
    assert math.log(min(k for k in asked if k > 0.5) / low) < 0.02


def test_one_bad_network_at_the_full_budget_is_no_reason_to_stop(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "macs=1")

    class Late:
        """Finds something that is good below half the budget only."""

        name = "late"

        def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
            if problem.budget.limit("macs") > 0.5:
                return Proposal(Plan.from_widths(problem.graph, problem.graph.floors), self.name)
            return agent_named("uniform").propose(problem)

    result = found(problem, "accuracy>=0.9", agent=Late())
    assert result.is_met
    assert result.kept < 0.5


def test_an_interrupted_search_gives_what_was_found_until_then(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "macs=1")
    asked = []

    class Interrupted:
        name = "interrupted"

        def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
            asked.append(problem.budget.limit("macs"))
            return Proposal(Plan({}, problem.graph), self.name, interrupted=True)

    assert found(problem, "accuracy>=0.5", agent=Interrupted()).is_met
    assert asked == [1.0]


def test_prune_takes_constraints_and_the_name_of_a_strategy() -> None:
    pruned = rlprune.prune("mlp", agent="global-l1", constraints=["accuracy_drop<=0.1"])
    assert pruned.proposal.method == "global-l1"
    (outcome,) = pruned.outcomes
    assert outcome.is_met
    assert pruned.measurements["pruned"].macs < pruned.measurements["dense"].macs
