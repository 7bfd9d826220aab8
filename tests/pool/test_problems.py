"""Problems of a pool: budgets that can be met, the same ones whenever they are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from rlprune.data.splits import DataSplits
from rlprune.latency import stored
from rlprune.pool.jobs import Job
from rlprune.pool.problems import Draws, problems_of
from rlprune.problem import Problem
from tests.pool.conftest import WriteEntry

MANY = Draws(budgets=40, timed=0.0)


@pytest.fixture
def digit_jobs(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if job.data == "digits"]


def limits(problems: list[Problem]) -> list[tuple[str, float]]:
    return [problem.budget.limits[0] for problem in problems]


def test_budgets_lie_between_the_hardest_and_the_gentlest_and_can_be_met(
    digit_jobs: list[Job], write_entry: WriteEntry, digits: DataSplits
) -> None:
    for job in digit_jobs:
        problems = problems_of(write_entry(job), digits, MANY)
        assert {quantity for quantity, _ in limits(problems)} == {"macs", "params"}
        kept = np.array([kept for _, kept in limits(problems)])
        assert ((kept > MANY.hardest) & (kept < MANY.gentlest)).all()
        assert (kept < 0.2).any()
        assert (kept > 0.4).any()
        for problem in problems[:3]:
            plan = problem.decode(np.ones(len(problem.graph.groups)))
            assert problem.budget.usage(problem.costs, plan.widths) <= 1


def test_the_draws_of_a_network_are_its_own(
    digit_jobs: list[Job], write_entry: WriteEntry, digits: DataSplits
) -> None:
    first, second = (write_entry(job) for job in digit_jobs[:2])
    assert limits(problems_of(first, digits, MANY)) == limits(problems_of(first, digits, MANY))
    assert limits(problems_of(first, digits, MANY)) != limits(problems_of(second, digits, MANY))
    other = MANY.model_copy(update={"seed": 1})
    assert limits(problems_of(first, digits, MANY)) != limits(problems_of(first, digits, other))


def test_some_problems_do_not_show_how_the_network_learned(
    digit_jobs: list[Job], write_entry: WriteEntry, digits: DataSplits
) -> None:
    shown = [one.dynamics for one in problems_of(write_entry(digit_jobs[0]), digits, MANY)]
    assert 0 < sum(one is None for one in shown) < len(shown) / 2


def test_all_share_what_is_measured_of_the_network(
    digit_jobs: list[Job], write_entry: WriteEntry, digits: DataSplits
) -> None:
    first, *others = problems_of(write_entry(digit_jobs[0]), digits, Draws(timed=0.0))
    assert all(one.evaluator is first.evaluator for one in others)
    assert all(one.sensitivity is first.sensitivity for one in others)


def test_timed_networks_are_charged_for_latency(
    digit_jobs: list[Job], write_entry: WriteEntry, digits: DataSplits
) -> None:
    draws = Draws(budgets=12, timed=1.0)
    problems = problems_of(write_entry(digit_jobs[0]), digits, draws)
    assert "latency" in {quantity for quantity, _ in limits(problems)}
    assert all(problem.evaluator.latency is not None for problem in problems)


def test_latency_budgets_can_be_met_where_the_device_takes_many_channels_at_once(
    digit_jobs: list[Job],
    write_entry: WriteEntry,
    digits: DataSplits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored, "granularity", lambda *_: 32)
    draws = Draws(budgets=30, hardest=0.01, timed=1.0)
    for job in digit_jobs:
        for problem in problems_of(write_entry(job), digits, draws):
            plan = problem.decode(np.ones(len(problem.graph.groups)))
            assert problem.budget.usage(problem.costs, plan.widths) <= 1
