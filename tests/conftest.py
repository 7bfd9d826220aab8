"""Shared problems on digits; session-scoped, because tracing and profiling are the slow part."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hypothesis
import pytest
import torch

from rlprune.config import EvaluationSettings
from rlprune.cost.budget import Budget
from rlprune.data.registry import load_data
from rlprune.data.splits import DataSplits
from rlprune.models.registry import LoadedModel, load_model
from rlprune.problem import Problem

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)

# How long an example takes says nothing about it on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Nothing that a test stores may reach the developer's own cache, nor the other way round.
_CACHE = tempfile.TemporaryDirectory(prefix="rlprune-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name

GetProblem = Callable[..., Problem]


def exact_problem(loaded: LoadedModel, data: DataSplits) -> Problem:
    """A problem without latency, scored cheaply and in single precision on every machine."""
    evaluation = EvaluationSettings(score="kl", precision="float32")
    return Problem.build(loaded, data, "macs=0.5", evaluation=evaluation, measure_latency=False)


@pytest.fixture(scope="session")
def digits() -> DataSplits:
    return load_data("digits")


@pytest.fixture(scope="session")
def loaded(digits: DataSplits) -> Callable[[str], LoadedModel]:
    """Built-in networks with their shipped digits weights; never changed by a test."""

    @cache
    def get(name: str) -> LoadedModel:
        return load_model(name, digits)

    return get


@pytest.fixture(scope="session")
def problem_of(digits: DataSplits, loaded: Callable[[str], LoadedModel]) -> GetProblem:
    """Problems without latency; those of one network share evaluator and ledger."""

    @cache
    def first(name: str) -> Problem:
        return exact_problem(loaded(name), digits)

    @cache
    def get(name: str, budget: str = "macs=0.5") -> Problem:
        return first(name).with_budget(Budget.parse(budget))

    return get


@pytest.fixture(scope="session")
def plain(problem_of: GetProblem) -> Problem:
    return problem_of("plain_cnn")


@pytest.fixture
def fresh_plain(digits: DataSplits, loaded: Callable[[str], LoadedModel]) -> Problem:
    """A problem whose cache and ledger no other test has touched."""
    return exact_problem(loaded("plain_cnn"), digits)


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code in a new interpreter on one thread; the repository is importable there."""

    def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run
