"""Which cell is worked on next: plans are chosen, and each distinct network is trained once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from rlprune.compare.cells import SCRATCH, Accuracies, Cell, Row
from rlprune.compare.training import Trained
from rlprune.errors import RLPruneError
from rlprune.surgery.replay import Kept


@dataclass(frozen=True)
class Choice:
    """The plan that a method chose, and what that cost; see `Row`."""

    kept: Kept
    plan: str
    evaluations: int
    profile_evaluations: int
    kept_macs: float
    kept_params: float
    kept_latency: float | None
    score_search: float | None
    seconds: float
    best_so_far: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Job:
    """One network to train; `kept` follows from the plan's digest."""

    model: str
    seed: int
    plan: str
    from_scratch: bool
    kept: Kept = field(compare=False, repr=False)


@dataclass(frozen=True)
class Finished:
    """What came of the cells, in their order.

    Attributes:
        rows: of the finished ones.
        refused: why the others have none.
    """

    rows: dict[Cell, Row]
    refused: dict[Cell, str]


class Bench(Protocol):
    """Where cells are worked on: in this process or in others."""

    @property
    def lanes(self) -> int:
        """How many tasks are worked on at the same time."""

    def choose(self, cell: Cell) -> Future[Choice]:
        """Let the cell's method choose a plan."""

    def train(self, job: Job) -> Future[Trained]:
        """Train a network and measure it."""


def run_cells(
    cells: Iterable[Cell],
    known: Mapping[Cell, Row],
    bench: Bench,
    finished: Callable[[Cell, Row], None],
) -> Finished:
    """Work on all cells that are not known, and say when each is finished.

    No more tasks are begun than the bench works on, trainings first, so that an interruption costs
    little.

    Args:
        cells: in the order that they are begun in.
        known: those finished before; networks that they trained are not trained again.
        bench: does the work.
        finished: called once for each new row.

    A method that a network, its data or its budget does not suit is left out with its reason.
    """
    order = list(cells)
    rows = {cell: known[cell] for cell in order if cell in known}
    queue = [cell for cell in order if cell not in rows]
    queue.reverse()
    trained = {_job(cell, row.plan, {}): _trained_of(row) for cell, row in known.items()}
    refused: dict[Cell, str] = {}
    waiting: dict[Job, list[tuple[Cell, Choice]]] = {}
    to_train: list[Job] = []
    choosing: dict[Future[Choice], Cell] = {}
    training: dict[Future[Trained], Job] = {}

    def finish(cell: Cell, choice: Choice, outcome: Trained) -> None:
        rows[cell] = _row(cell, choice, outcome)
        finished(cell, rows[cell])

    while queue or to_train or choosing or training:
        while (queue or to_train) and len(choosing) + len(training) < bench.lanes:
            if to_train:
                job = to_train.pop(0)
                training[bench.train(job)] = job
            else:
                cell = queue.pop()
                choosing[bench.choose(cell)] = cell
        pending: list[Future[Any]] = [*choosing, *training]
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        for choice_made in [future for future in choosing if future in done]:
            cell = choosing.pop(choice_made)
            try:
                choice = choice_made.result()
            except RLPruneError as error:
                refused[cell] = str(error)
                continue
            job = _job(cell, choice.plan, choice.kept)
            if job in trained:
                finish(cell, choice, trained[job])
            elif job in waiting:
                waiting[job].append((cell, choice))
            else:
                waiting[job] = [(cell, choice)]
                to_train.append(job)
        for training_done in [future for future in training if future in done]:
            job = training.pop(training_done)
            trained[job] = training_done.result()
            for cell, choice in waiting.pop(job):
                finish(cell, choice, trained[job])
    return Finished({cell: rows[cell] for cell in order if cell in rows}, refused)


def _job(cell: Cell, plan: str, kept: Kept) -> Job:
    return Job(cell.model, cell.seed, plan, cell.method == SCRATCH, kept)


def _trained_of(row: Row) -> Trained:
    test = Accuracies(
        repaired=row.accuracy_repaired,
        after_50_steps=row.accuracy_50_steps,
        finetuned=row.accuracy_finetuned,
    )
    return Trained(test, row.validation, row.training_seconds)


def _row(cell: Cell, choice: Choice, trained: Trained) -> Row:
    return Row(
        model=cell.model,
        method=cell.method,
        budget=cell.budget,
        seed=cell.seed,
        evaluations=choice.evaluations,
        profile_evaluations=choice.profile_evaluations,
        kept_macs=choice.kept_macs,
        kept_params=choice.kept_params,
        kept_latency=choice.kept_latency,
        score_search=choice.score_search,
        accuracy_repaired=trained.test.repaired,
        accuracy_50_steps=trained.test.after_50_steps,
        accuracy_finetuned=trained.test.finetuned,
        validation=trained.validation,
        seconds=choice.seconds,
        training_seconds=trained.seconds,
        best_so_far=choice.best_so_far,
        plan=choice.plan,
    )
