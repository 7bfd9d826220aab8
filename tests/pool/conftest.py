"""Pools whose networks were never trained: what is on disk does not depend on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rlprune.dynamics.record import Dynamics
from rlprune.models import build_model
from rlprune.pool.folder import Content, Entry, Record, read_entry, write
from rlprune.pool.jobs import BriefTraining, Job, PoolPlan, Task

DIGITS = Task("digits", "digits-8", (1, 8, 8), 10)
FASHION = Task("fashion-mnist-14", "fashion-mnist-14", (1, 14, 14), 10)

WriteEntry = Callable[..., Entry]


@pytest.fixture(scope="session")
def plan() -> PoolPlan:
    return PoolPlan(("plain", "residual", "mlp"), (DIGITS, FASHION), 0, BriefTraining())


@pytest.fixture(scope="session")
def jobs(plan: PoolPlan) -> list[Job]:
    return [plan.job(number) for number in range(6)]


@pytest.fixture
def write_entry(tmp_path: Path) -> WriteEntry:
    """Write a network with the weights that it begins with, or one that failed."""

    def entry(job: Job, failure: str | None = None) -> Entry:
        content = None
        if failure is None:
            with torch.random.fork_rng([]):
                torch.manual_seed(job.seed)
                channels, size, _ = job.input_shape
                module = build_model(
                    job.model, in_channels=channels, num_classes=10, image_size=size
                )
            nothing = Dynamics(watched=False, steps=0, layers=(), trajectory=None, data=None)
            content = Content.of(module, nothing)
        record = Record(
            job=job,
            accuracy=0.3 if content is None else 0.9,
            failure=failure,
            cpu_seconds=1.0,
            weights=None if content is None else content.digest,
        )
        write(tmp_path / "pool", record, content)
        return read_entry(tmp_path / "pool" / job.name)

    return entry
