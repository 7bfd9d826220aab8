"""Which clock is read, and on how many threads."""

from __future__ import annotations

import platform
import time

import pytest
import torch
from torch.utils.benchmark import timer

from rlprune.errors import RLPruneError
from rlprune.latency.clock import check_threads, keep_freed_memory, pick_clock

CPU = torch.device("cpu")


def test_one_thread_is_timed_by_its_own_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert pick_clock(CPU) is time.thread_time


def test_more_threads_and_accelerators_are_timed_by_the_wall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert pick_clock(torch.device("cuda")) is timer
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert pick_clock(CPU) is timer


@pytest.mark.parametrize("threads", [-1, 0, 10**6])
def test_threads_that_the_machine_does_not_have_are_refused(threads: int) -> None:
    with pytest.raises(RLPruneError, match=rf"{threads} threads; this machine has \d+ cores"):
        check_threads(threads)


def test_one_thread_is_never_too_many() -> None:
    check_threads(1)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", refuse)
    keep_freed_memory.__wrapped__()
