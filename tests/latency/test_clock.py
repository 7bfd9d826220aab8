"""Which clock is read."""

from __future__ import annotations

import time

import pytest
import torch
from torch.utils.benchmark import timer

from rlprune.latency.clock import pick_clock

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
