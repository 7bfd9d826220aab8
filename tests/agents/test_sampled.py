"""CMA-ES and NSGA-II: what is learned, the front, and what happens without their packages."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import numpy as np
import optuna
import pytest

from rlprune.agents.base import Agent
from rlprune.agents.sampled import CMAESAgent, NSGA2Agent
from rlprune.agents.trials import Trials
from rlprune.data.splits import DataSplits
from rlprune.errors import RLPruneError
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.agents.searching import dense_layers
from tests.conftest import GetProblem

BOTH = pytest.mark.parametrize("make", [CMAESAgent, NSGA2Agent])


@BOTH
def test_the_first_plan_is_the_heuristic(make: type[Agent], fresh_plain: Problem) -> None:
    proposal = make().propose(fresh_plain, 1)
    assert proposal.plan == fresh_plain.reference.plan


@BOTH
def test_the_seed_decides(make: type[CMAESAgent], plain: Problem) -> None:
    same = [make(seed=4).propose(plain, 50) for _ in range(2)]
    assert same[0] == same[1]
    assert make(seed=5).propose(plain, 50).history != same[0].history


@BOTH
def test_a_network_with_one_group_can_be_searched(
    make: type[CMAESAgent], digits: DataSplits
) -> None:
    problem = dense_layers(digits, 20)
    proposal = make(around_heuristic=False).propose(problem, 30)
    assert problem.budget.usage(problem.costs, proposal.plan.widths) <= 1
    assert 1 <= len(proposal.history) <= 20


@BOTH
def test_blocks_are_among_what_is_searched(
    make: type[CMAESAgent], problem_of: GetProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of("resnet20", "macs=0.3")
    score, seen = Trials.score, list[Plan]()

    def watched(self: Trials, plans: Sequence[Plan]) -> list[float]:
        seen.extend(plans)
        return score(self, plans)

    monkeypatch.setattr(Trials, "score", watched)
    proposal = make(seed=0).propose(problem, 40)
    assert len(proposal.history) == 40
    gone = {len(problem.graph.bypassed(plan.kept)) for plan in seen}
    assert 0 in gone
    assert max(gone) > 0


@pytest.mark.parametrize(("make", "package"), [(CMAESAgent, "cmaes"), (NSGA2Agent, "optuna")])
def test_without_its_package_a_search_says_what_to_type(
    make: type[CMAESAgent], package: str, plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RLPruneError, match=rf'needs {package}; .*pip install "rlprune\[search\]"'):
        make().propose(plain, 5)


def test_cmaes_starts_afresh_where_it_draws_nothing_new(plain: Problem) -> None:
    coarse = Problem("coarse", plain.evaluator, plain.data, plain.budget, round_to=4)
    proposal = CMAESAgent(seed=0).propose(coarse, 60)
    assert len(proposal.history) > 20  # of all there are; the first start finds 11


def test_cmaes_gets_better_from_generation_to_generation(plain: Problem) -> None:
    proposal = CMAESAgent(seed=0).propose(plain, 60)
    assert proposal.history[-1] < proposal.history[20] < proposal.history[0]


def test_no_plan_of_the_front_is_better_and_cheaper_than_another(plain: Problem) -> None:
    proposal = NSGA2Agent(seed=1).propose(plain, 80)
    front = proposal.front
    usage = [float(plain.budget.usage(plain.costs, plan.widths)) for plan in front]
    scores = [plain.evaluate(plan).score for plan in front]
    assert len(front) >= 5
    assert usage == sorted(usage)
    assert scores == sorted(scores, reverse=True)
    assert len(set(usage)) == len(set(scores)) == len(front)
    assert max(usage) <= 1
    assert min(usage) < 0.8
    assert proposal.plan == front[-1]
    assert scores[-1] == proposal.history[-1]


def test_the_front_stays_within_what_the_network_can_be_cut_to(problem_of: GetProblem) -> None:
    least = problem_of("plain_cnn").costs.reachable("macs")
    problem = problem_of("plain_cnn", f"macs={least * 1.1:.4f}")
    proposal = NSGA2Agent(seed=1).propose(problem, 30)
    assert all((plan.widths >= problem.graph.floors).all() for plan in proposal.front)


def test_optuna_is_silent_and_left_as_it_was(
    plain: Problem, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = optuna.logging.get_verbosity()
    with caplog.at_level(logging.DEBUG):
        NSGA2Agent().propose(plain, 5)
    assert optuna.logging.get_verbosity() == before
    assert capsys.readouterr() == ("", "")
    assert np.all([record.name != "optuna" for record in caplog.records])
