"""Scores plans in several processes at once, each with its own threads.

Small networks do not keep many threads busy, so one process for each plan is faster than all
threads on one plan. Every process holds all networks; only kept channels travel to it, and scores
come back.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path

import torch

from rlprune.errors import RLPruneError, first_line
from rlprune.evaluate.evaluator import Evaluator
from rlprune.evaluate.scoring import PlanScorer, Score
from rlprune.graph.group_graph import GroupGraph
from rlprune.machine import check_threads, keep_freed_memory
from rlprune.models._userfile import importable, load_file, loaded_files, user_code
from rlprune.surgery.plan import Plan
from rlprune.surgery.replay import Kept

_Network = tuple[PlanScorer, GroupGraph]


@contextmanager
def workers_for(evaluators: Sequence[Evaluator], count: int) -> Iterator[None]:
    """Let processes score the plans of evaluators until the end of the context.

    Every process uses as many threads as PyTorch does here (`torch.set_num_threads`). Scores are
    those of one process with as many threads, whatever `count` is. Processes start with the first
    plan; one is none at all.

    Args:
        evaluators: of one or more networks; all processes score plans of all of them.
        count: how many processes.

    Raises:
        RLPruneError: if this machine has too few cores, or a network cannot be sent to a process.
    """
    if count != 1:
        check_threads(torch.get_num_threads(), count)
    if count == 1:
        yield
        return
    scorers = [evaluator.scorer for evaluator in evaluators]
    networks = [(evaluator.scorer, evaluator.graph) for evaluator in evaluators]
    with _networks_in_a_file(networks) as path, _processes(path, count) as processes:
        for index, evaluator in enumerate(evaluators):
            evaluator.scorer = _RemoteScorer(processes, index, count)
        try:
            yield
        finally:
            for evaluator, scorer in zip(evaluators, scorers, strict=True):
                evaluator.scorer = scorer


@dataclass(frozen=True)
class _RemoteScorer:
    """Hands plans of one network to the processes; a free one takes the next."""

    processes: ProcessPoolExecutor
    index: int
    lanes: int

    def score(self, plans: Sequence[Plan], at_most: float = math.inf) -> list[Score]:
        tasks: list[Future[Score]] = []
        try:
            for plan in plans:
                with interrupts_blocked():  # this may start a process
                    task = self.processes.submit(_score, self.index, plan.kept, at_most)
                tasks.append(task)
            return [task.result() for task in tasks]
        except BrokenProcessPool as error:
            raise RLPruneError(
                f"one of {self.lanes} worker processes ended while it scored a plan; where the "
                "system killed it for want of memory, use fewer: --workers 1"
            ) from error
        finally:
            for task in tasks:
                task.cancel()


@contextmanager
def _networks_in_a_file(networks: Sequence[_Network]) -> Iterator[Path]:
    """Write networks and samples into a file that all processes map into their memory.

    So their tensors are in memory once, and neither file descriptors nor /dev/shm, which is small
    in a container, run out.
    """
    with tempfile.TemporaryDirectory(prefix="rlprune-") as folder:
        path = Path(folder, "networks.pt")
        try:
            torch.save(networks, path)
        except (pickle.PickleError, AttributeError, TypeError) as error:
            raise RLPruneError(
                f"the network cannot be sent to worker processes: {first_line(error)}; define its "
                "classes and functions at the top of a module, or type --workers 1"
            ) from error
        yield path


@contextmanager
def _processes(path: Path, count: int) -> Iterator[ProcessPoolExecutor]:
    # Forked processes would hang in OpenMP and CUDA.
    start = (path, torch.get_num_threads(), loaded_files())
    processes = ProcessPoolExecutor(count, get_context("spawn"), _start, start)
    try:
        yield processes
    finally:
        processes.shutdown(cancel_futures=True)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Hold Ctrl-C back; processes that are started meanwhile never see it, not even at first."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# What follows runs in a worker process.

_networks: list[_Network] = []
_failures: list[RLPruneError] = []


def _start(path: Path, threads: int, user_files: Sequence[Path]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process in order
    threading.Thread(target=end_with_parent, daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(threads)
    try:
        with ExitStack() as stack, user_code("starting a worker process", RLPruneError):
            for file in user_files:
                stack.enter_context(importable(file.parent))
                load_file(file)
            # Written by the parent, so that nothing foreign is unpickled.
            _networks.extend(torch.load(path, mmap=True, weights_only=False))
    except RLPruneError as error:
        _failures.append(error)  # raised here, it would only be logged


def end_with_parent() -> None:
    """A parent that was killed cannot end its processes, and these would wait for ever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _score(index: int, kept: Kept, at_most: float) -> Score:
    if _failures:
        raise _failures[0]
    scorer, graph = _networks[index]
    return scorer.score([Plan(kept, graph)], at_most)[0]
