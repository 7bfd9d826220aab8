"""What time is read from while networks run."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils.benchmark import timer as wall_clock

Clock = Callable[[], float]
"""Returns seconds since some moment."""

_COARSEST_S = 1e-6


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
