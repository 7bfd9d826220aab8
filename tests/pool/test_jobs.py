from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from rlprune.pool.jobs import BriefTraining, Job, PoolPlan
from tests.pool.conftest import DIGITS, FASHION

FAMILIES = ("plain", "vgg", "residual", "mlp")


def test_the_nth_network_is_the_same_in_every_process_and_in_pools_of_any_length(
    plan: PoolPlan, jobs: list[Job], run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    code = (
        "from tests.pool.conftest import *\n"
        "plan = PoolPlan(('plain', 'residual', 'mlp'), (DIGITS, FASHION), 0, BriefTraining())\n"
        "print(plan.job(4).model_dump_json())"
    )
    done = run_python(code)
    assert done.stderr == ""
    assert Job.model_validate_json(done.stdout) == jobs[4] == plan.job(4)


@pytest.mark.parametrize("first", [0, 4, 12])
def test_families_and_tasks_are_in_balance_wherever_the_pool_ends(first: int) -> None:
    plan = PoolPlan(FAMILIES, (DIGITS, FASHION), 0, BriefTraining())
    some = [plan.job(number) for number in range(first, first + 8)]
    assert set(Counter((job.spec.family, job.data) for job in some).values()) == {1}
    assert set(Counter(job.spec.family for job in some[:4]).values()) == {1}
    assert set(Counter(job.data for job in some[:4]).values()) == {2}


def test_networks_of_other_numbers_and_other_pools_are_others(plan: PoolPlan) -> None:
    plans = (plan, replace(plan, seed=1))
    made = [one.job(number) for one in plans for number in (0, 6)]
    assert len({job.seed for job in made}) == 4
    assert len({job.spec for job in made}) == 4


def test_a_small_task_is_presented_as_often_as_a_large_one() -> None:
    training = BriefTraining(images=8192, presented=24576)
    assert training.epochs(1258) == 20
    assert training.epochs(8192) == 3
    assert training.epochs(52952) == 3
    assert BriefTraining(presented=1).epochs(1000) == 1
