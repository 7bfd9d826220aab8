"""Experience: pairs around the heuristic, paid as episodes are, kept for other trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rlprune.agents.experience import gather
from rlprune.cache.store import NoStore, Store
from rlprune.config import ExperienceSettings, RewardSettings
from rlprune.cost.budget import Budget
from rlprune.envs import reward
from rlprune.envs.observation.table import observations
from rlprune.envs.walk import BLOCK_THRESHOLD, changed
from rlprune.problem import Problem
from tests.agents.conftest import NO_LATENCY
from tests.conftest import GetProblem

FEW = ExperienceSettings(pairs=6)


def test_returns_are_those_of_both_plans_of_a_pair(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.3")
    found = gather(problem, FEW, NO_LATENCY, NoStore())
    graph, centre = problem.graph, problem.reference.allocation
    assert found.actions.shape == (6, len(graph.groups))
    assert (found.actions[:, graph.is_block] < BLOCK_THRESHOLD).any()
    for actions, returns in zip(found.actions, found.returns, strict=True):
        opposite = np.where(graph.is_block, actions, -actions)
        for one, paid in zip((actions, opposite), returns, strict=True):
            plan = problem.decode(changed(graph, centre, one))
            assert reward(problem, problem.evaluate(plan), NO_LATENCY).total == paid
    assert (found.seen == observations(problem)).all()
    assert (found.is_block == graph.is_block).all()


def test_actions_spread_as_asked(plain: Problem) -> None:
    found = gather(plain, ExperienceSettings(pairs=100, spread=0.1), NO_LATENCY, NoStore())
    assert abs(found.actions.std() - 0.1) < 0.02


def test_what_is_stored_is_not_evaluated_again(fresh_plain: Problem, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = gather(fresh_plain, FEW, NO_LATENCY, store)
    again = fresh_plain.fresh()
    second = gather(again, FEW, NO_LATENCY, store)
    assert (first.returns == second.returns).all()
    assert (first.actions == second.actions).all()
    assert again.ledger.evaluations == 0


def test_other_draws_rewards_and_budgets_are_other_experience(
    fresh_plain: Problem, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    known = gather(fresh_plain, FEW, NO_LATENCY, store).returns
    others = (
        gather(fresh_plain, ExperienceSettings(pairs=6, seed=1), NO_LATENCY, store),
        gather(fresh_plain, FEW, RewardSettings(latency=0, macs=1), store),
        gather(fresh_plain.with_budget(Budget.parse("macs=0.3")), FEW, NO_LATENCY, store),
    )
    for other in others:
        assert (other.returns != known).any()
