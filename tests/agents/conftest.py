"""One small trained agent for all agent tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from rlprune.agents import train_agent
from rlprune.agents.training import Training
from rlprune.config import RewardSettings
from rlprune.problem import Problem
from tests.conftest import GetProblem

NO_LATENCY = RewardSettings(latency=0)


@dataclass(frozen=True)
class Run:
    training: Training
    folder: Path
    problems: tuple[Problem, ...]


@pytest.fixture(scope="package")
def run(problem_of: GetProblem, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Sixteen episodes or more on two networks, logged; may be asked for any budget."""
    folder = tmp_path_factory.mktemp("tensorboard")
    problems = (problem_of("plain_cnn", "macs=0.4"), problem_of("mlp", "macs=0.5"))
    training = train_agent(
        problems,
        16,
        rewards=NO_LATENCY,
        seed=3,
        tensorboard=folder,
        notes={"config": "episodes: 16"},
    )
    training.agent.kept = {"macs": (0.0, 1.0), "params": (0.0, 1.0), "latency": (0.0, 1.0)}
    return Run(training, folder, problems)
