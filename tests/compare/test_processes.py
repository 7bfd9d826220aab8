"""Work in other processes: each argument once, and an end of one is told from a refusal."""

from __future__ import annotations

import os

import pytest

from rlprune.compare.processes import results, tasks_for
from rlprune.errors import RLPruneError


class Worker:
    """What a process builds for itself."""

    def square(self, number: int) -> int:
        return number * number

    def die(self, _: int) -> None:
        os._exit(9)


@pytest.mark.parametrize("count", [1, 2])
def test_every_argument_is_answered_once(count: int) -> None:
    with tasks_for(Worker, (), count) as tasks:
        assert sorted(results(tasks, "square", range(9))) == [(n, n * n) for n in range(9)]


def test_arguments_are_taken_when_they_can_be_worked_on() -> None:
    taken = []
    with tasks_for(Worker, (), 1) as tasks:
        calls = results(tasks, "square", (taken.append(n) or n for n in range(9)))
        next(calls)
    assert taken == [0]


def test_a_process_that_ended_is_said() -> None:
    with pytest.raises(RLPruneError, match="ended; .*--workers 1. The same command continues"):
        with tasks_for(Worker, (), 2) as tasks:
            list(results(tasks, "die", range(3)))
