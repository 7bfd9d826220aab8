"""Order of the work: each network once, trainings first, nothing lost."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from rlprune.compare.cells import SCRATCH, Accuracies, Cell, Row
from rlprune.compare.schedule import Choice, Job, run_cells
from rlprune.compare.training import Trained
from rlprune.errors import CriterionError

METHODS = ("uniform", "random", "copy", SCRATCH)
CELLS = [Cell("net", method, "macs=0.4", seed) for seed in (0, 1) for method in METHODS]


class Fake:
    """Finishes tasks at once, or `lanes` of them in the opposite order; `copy` copies uniform."""

    def __init__(self, lanes: int = 1) -> None:
        self.lanes = lanes
        self.begun: list[str] = []
        self.trained: list[Job] = []

    def choose(self, cell: Cell) -> Future[Choice]:
        self.begun.append(f"choose {cell.method} {cell.seed}")
        if cell.method == "refused":
            return done(CriterionError("it needs labels"))
        plan = "uniform" if cell.method in ("copy", SCRATCH) else cell.method
        return done(
            Choice(
                kept={"group": (0, 1)},
                plan=plan,
                evaluations=5,
                profile_evaluations=0,
                kept_macs=0.4,
                kept_params=0.4,
                kept_latency=None,
                score_search=0.1,
                seconds=1.0,
                best_so_far=(),
            )
        )

    def train(self, job: Job) -> Future[Trained]:
        self.begun.append(f"train {job.plan} {job.seed} {job.from_scratch}")
        self.trained.append(job)
        quality = len(job.plan) / 100 + job.seed - job.from_scratch
        accuracies = Accuracies(repaired=quality, after_50_steps=None, finetuned=quality)
        return done(Trained(accuracies, accuracies, 2.0))


def done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future


def ignore(cell: Cell, row: Row) -> None:
    """Forget a finished cell."""


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_equal_plans_are_trained_once_but_the_control_apart(lanes: int) -> None:
    bench = Fake(lanes)
    rows = run_cells(CELLS, {}, bench, ignore).rows
    assert list(rows) == CELLS
    assert len(bench.trained) == len(set(bench.trained)) == 6
    for seed in (0, 1):
        uniform, copy, scratch = (
            rows[Cell("net", method, "macs=0.4", seed)] for method in ("uniform", "copy", SCRATCH)
        )
        assert uniform.accuracy_finetuned == copy.accuracy_finetuned
        assert uniform.accuracy_finetuned != scratch.accuracy_finetuned


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_the_number_of_lanes_changes_nothing(lanes: int) -> None:
    assert run_cells(CELLS, {}, Fake(lanes), ignore) == run_cells(CELLS, {}, Fake(), ignore)


def test_a_cell_is_finished_before_the_next_is_begun() -> None:
    bench = Fake()
    run_cells(CELLS[:2], {}, bench, ignore)
    assert bench.begun == [
        "choose uniform 0",
        "train uniform 0 False",
        "choose random 0",
        "train random 0 False",
    ]


def test_finished_cells_are_not_repeated_and_their_networks_not_trained_again() -> None:
    known = run_cells(CELLS[:1], {}, Fake(), ignore).rows
    bench, told = Fake(), []
    rows = run_cells(CELLS[:3], known, bench, lambda cell, _: told.append(cell)).rows
    assert list(rows) == CELLS[:3]
    assert told == CELLS[1:3]
    assert [job.plan for job in bench.trained] == ["random"]
    copied = rows[CELLS[2]]
    assert copied.accuracy_finetuned == known[CELLS[0]].accuracy_finetuned


def test_an_interruption_loses_no_finished_cell() -> None:
    told: list[Cell] = []

    class Interrupted(Fake):
        def choose(self, cell: Cell) -> Future[Choice]:
            if cell == CELLS[2]:
                raise KeyboardInterrupt
            return super().choose(cell)

    with pytest.raises(KeyboardInterrupt):
        run_cells(CELLS, {}, Interrupted(), lambda cell, _: told.append(cell))
    assert told == CELLS[:2]


def test_a_method_that_does_not_suit_is_left_out_with_its_reason() -> None:
    bad = Cell("net", "refused", "macs=0.4", 0)
    found = run_cells([bad, CELLS[0]], {}, Fake(), ignore)
    assert found.refused == {bad: "it needs labels"}
    assert list(found.rows) == [CELLS[0]]
