"""What time is read from while networks run, and what keeps it steady."""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Callable
from functools import cache

import torch
from torch.utils.benchmark import timer as wall_clock

from rlprune.latency.errors import LatencyError

Clock = Callable[[], float]
"""Returns seconds since some moment."""

_COARSEST_S = 1e-6

# <malloc.h> of glibc
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER, _NO_MAPPINGS = -1, 0


def pick_clock(device: torch.device) -> Clock:
    """Return the steadiest clock that sees all the work of a forward pass.

    One thread of a CPU does all the work itself: the processor time of that thread leaves out what
    other processes take of the core. With more threads, or an accelerator, it is wall time, read
    by PyTorch's benchmark timer after all kernels have ended.

    Args:
        device: on which the networks run.
    """
    fine = time.get_clock_info("thread_time").resolution <= _COARSEST_S
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.thread_time if alone and fine else wall_clock


def check_threads(threads: int) -> None:
    """Refuse more threads than cores, which would take turns and be timed doing so.

    Raises:
        LatencyError: with the number of cores that this process may use.
    """
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    if not 1 <= threads <= cores:
        raise LatencyError(
            f"cannot measure on {threads} threads; this machine has {cores} cores: give 1 to "
            f"{cores} threads"
        )


@cache
def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, from now on, where the C library is glibc.

    Otherwise activations go back to the system when they are freed and are asked for again by the
    next layer: depending on what happens to lie above them on the heap, page faults take up to half
    of a forward pass. Servers avoid that with another allocator.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
        library.mallopt(_MMAP_MAX, _NO_MAPPINGS)
