"""The agent learns on real images; minutes, so they are marked slow."""

from __future__ import annotations

import numpy as np
import pytest

from rlprune.agents import train_agent
from rlprune.config import RewardSettings
from rlprune.data.registry import load_data
from rlprune.errors import DataError
from rlprune.problem import Problem


@pytest.mark.slow
def test_returns_rise_and_the_policy_beats_the_heuristic_on_fashion_mnist() -> None:
    try:
        data = load_data("fashion-mnist", image_size=14)
    except DataError as error:
        pytest.skip(f"Fashion-MNIST is not here: {error}")
    problem = Problem.build("resnet20", data, "macs=0.2", measure_latency=False)
    training = train_agent([problem], 400, rewards=RewardSettings(latency=0))
    returns = training.returns
    assert np.mean(returns[-100:]) > np.mean(returns[:100])
    ((before, after),) = training.deterministic
    assert after > max(0.0, before)
