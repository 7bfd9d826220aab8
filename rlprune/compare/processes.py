"""Tasks of one worker object: in this process, or in several that each build their own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

import torch

from rlprune.errors import RLPruneError
from rlprune.evaluate.workers import end_with_parent, interrupts_blocked
from rlprune.machine import check_threads, keep_freed_memory
from rlprune.progress import silence

Make = Callable[..., object]
T = TypeVar("T")


class Tasks(Protocol):
    """Calls methods of a worker object."""

    @property
    def lanes(self) -> int:
        """How many calls are worked on at the same time."""

    def submit(self, method: str, argument: object) -> Future[Any]:
        """Begin `worker.method(argument)`."""


@contextmanager
def tasks_for(make: Make, arguments: Sequence[object], count: int) -> Iterator[Tasks]:
    """Yield what calls the methods of `make(*arguments)`, of a copy in each of `count` processes.

    One is this process itself. Every process uses as many threads as PyTorch does here.

    Args:
        make: importable by name; arguments and results are pickled for other processes.
        arguments: of `make`.
        count: how many processes.

    Raises:
        RLPruneError: if this machine has too few cores, or one of the processes ended.
    """
    if count == 1:
        yield _Here(make(*arguments))
        return
    check_threads(torch.get_num_threads(), count)
    # Forked processes would hang in OpenMP and CUDA.
    start = (torch.get_num_threads(), make, tuple(arguments))
    pool = ProcessPoolExecutor(count, get_context("spawn"), _start, start)
    try:
        yield _There(pool, count)
    except BrokenProcessPool as error:
        raise RLPruneError(
            f"one of {count} worker processes ended; where the system killed it for want of "
            "memory, use fewer: --workers 1. The same command continues"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def results(tasks: Tasks, method: str, arguments: Iterable[T]) -> Iterator[tuple[T, Any]]:
    """Call a method with every argument and yield both as calls end, in whatever order.

    Arguments are taken when they can be worked on, so that an interruption costs little.
    """
    queue = iter(arguments)
    running: dict[Future[Any], T] = {}
    while True:
        for argument in islice(queue, tasks.lanes - len(running)):
            running[tasks.submit(method, argument)] = argument
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()


@dataclass(frozen=True)
class _Here:
    worker: object
    lanes: int = 1

    def submit(self, method: str, argument: object) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(getattr(self.worker, method)(argument))
        except RLPruneError as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class _There:
    pool: ProcessPoolExecutor
    lanes: int

    def submit(self, method: str, argument: object) -> Future[Any]:
        with interrupts_blocked():  # this may start a process
            return self.pool.submit(_call, method, argument)


# What follows runs in a worker process.

_workers: list[object] = []
_failures: list[RLPruneError] = []


def _start(threads: int, make: Make, arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process in order
    threading.Thread(target=end_with_parent, daemon=True).start()
    keep_freed_memory()
    silence()
    torch.set_num_threads(threads)
    try:
        _workers.append(make(*arguments))
    except RLPruneError as error:
        _failures.append(error)  # raised here, it would only be logged


def _call(method: str, argument: object) -> Any:
    if _failures:
        raise _failures[0]
    return getattr(_workers[0], method)(argument)
