"""What this machine lets a process use."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

from rlprune.errors import RLPruneError

# <malloc.h> of glibc
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER, _NO_MAPPINGS = -1, 0


def cores() -> int:
    """Return how many cores this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def check_threads(threads: int, workers: int = 1) -> None:
    """Refuse more threads than cores, which would take turns, and be timed doing so.

    Args:
        threads: of each process.
        workers: processes that work at the same time.

    Raises:
        RLPruneError: with the number of cores, and what fits.
    """
    if workers < 1 or threads < 1:
        raise RLPruneError(
            f"{workers} workers of {threads} threads can do nothing; type --workers 1 --threads 1, "
            "or more"
        )
    if threads > cores():
        raise RLPruneError(
            f"this machine has {cores()} cores, too few for {threads} threads; type --threads "
            f"{cores()} or less"
        )
    if threads * workers > cores():
        raise RLPruneError(
            f"{workers} workers of {threads} threads need {workers * threads} cores and this "
            f"machine has {cores()}; type --workers {cores() // threads}, or --threads 1 and up to "
            f"{cores()} workers"
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
