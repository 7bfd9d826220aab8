"""Cells of a comparison at work: every method through the same problem, in one process or more."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from rlprune.agents.chosen import Entrant, agent_for, is_search
from rlprune.building import data_from, problem_from
from rlprune.compare.cells import BASELINE, SCRATCH, Cell
from rlprune.compare.processes import Tasks, tasks_for
from rlprune.compare.schedule import Bench, Choice, Job
from rlprune.compare.training import Trained, Training, train_and_measure
from rlprune.config import CompareSettings
from rlprune.cost.budget import Budget
from rlprune.errors import RLPruneError
from rlprune.problem import Problem
from rlprune.recipes.finalists import best_finalist
from rlprune.recipes.teacher import RememberingTeacher
from rlprune.surgery.plan import Plan


@dataclass(frozen=True)
class Files:
    """What models are filled with, by model.

    Attributes:
        weights: trained weights, of those that a user gave.
        tables: latency tables, of those whose latency is charged.
    """

    weights: Mapping[str, Path]
    tables: Mapping[str, Path]


class Workbench:
    """Does the work of cells; networks are traced once for each seed.

    Args:
        settings: of the comparison.
        training: how all networks are trained.
        files: of the models.
    """

    def __init__(self, settings: CompareSettings, training: Training, files: Files) -> None:
        self._settings = settings
        self._training = training
        self._files = files
        self._data = data_from(settings)
        self._problem = cache(self._built)
        self._teacher = lru_cache(1)(self._remembering)  # cells come network by network

    def choose(self, cell: Cell) -> Choice:
        """Let a method choose a plan, with a ledger of its own.

        Raises:
            RLPruneError: if the method's profile alone takes more evaluations than it has.
        """
        problem = self._fresh(cell)
        entrant = Entrant.parse(BASELINE if cell.method == SCRATCH else cell.method)
        method, allowance = entrant.method, entrant.evaluations
        started = time.perf_counter()
        if allowance is None:
            allowance = self._allowance(problem, method, cell.seed)
        proposal = agent_for(method, cell.seed).propose(problem, allowance)
        if proposal.interrupted:
            raise KeyboardInterrupt  # half a search is no cell
        plan = proposal.plan
        if entrant.finalists > 1:
            best = [plan, *proposal.runners_up][: entrant.finalists]
            plan = best_finalist(problem, best, cell.seed)
        seconds = time.perf_counter() - started
        used = problem.uses()
        total = used.evaluations + used.profile_evaluations
        if entrant.evaluations is None and total > self._settings.evaluations:
            raise RLPruneError(
                f"{method} takes {used.profile_evaluations} evaluations for its profile of this "
                f"network, and has {self._settings.evaluations}; allow more: --evaluations"
            )
        graph = problem.graph
        # The score that every row reports is no evaluation of the method's: its ledger is closed.
        measured = problem.evaluate(plan)
        return Choice(
            kept=plan.kept,
            plan=plan.key.hex(),
            evaluations=used.evaluations,
            profile_evaluations=used.profile_evaluations,
            kept_macs=measured.macs / graph.macs(),
            kept_params=measured.params / graph.params(),
            kept_latency=measured.latency_kept,
            score_search=None if cell.method == SCRATCH else measured.score,
            seconds=seconds,
            best_so_far=used.improvements,
        )

    def train(self, job: Job) -> Trained:
        """Train a network and measure it."""
        problem = self._problem(job.model, job.seed)
        return train_and_measure(
            problem,
            Plan(job.kept, problem.graph),
            self._training,
            job.seed,
            teacher=self._teacher(job.model, job.seed),
            from_scratch=job.from_scratch,
        )

    def _fresh(self, cell: Cell) -> Problem:
        return self._problem(cell.model, cell.seed).with_budget(Budget.parse(cell.budget)).fresh()

    def _allowance(self, problem: Problem, method: str, seed: int) -> int:
        """Return the evaluations that a method has left after its profile.

        What its profile takes is known from asking the method without any evaluations; the problem
        keeps it for the search.
        """
        if not is_search(method):
            return 0
        agent_for(method, seed).propose(problem, 0)
        return max(0, self._settings.evaluations - problem.ledger.profile_evaluations)

    def _remembering(self, model: str, seed: int) -> RememberingTeacher:
        return RememberingTeacher(self._problem(model, seed).evaluator.model)

    def _built(self, model: str, seed: int) -> Problem:
        table = self._files.tables.get(model)
        return problem_from(
            self._settings,
            model,
            self._data,
            Budget((("macs", 1.0),)),
            weights=self._files.weights.get(model),
            latency_table=table,
            measure_latency=table is not None,
            seed=seed,
        )


@dataclass(frozen=True)
class _Bench:
    tasks: Tasks

    @property
    def lanes(self) -> int:
        return self.tasks.lanes

    def choose(self, cell: Cell) -> Future[Choice]:
        return self.tasks.submit("choose", cell)

    def train(self, job: Job) -> Future[Trained]:
        return self.tasks.submit("train", job)


@contextmanager
def bench_for(settings: CompareSettings, training: Training, files: Files) -> Iterator[Bench]:
    """Yield a bench of as many processes as the settings ask for; see `Workbench`."""
    with tasks_for(Workbench, (settings, training, files), settings.workers) as tasks:
        yield _Bench(tasks)
