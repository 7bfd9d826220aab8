from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rlprune.dynamics.loss_log import MEMORY, LossLog


def log_of(losses: list[float], every: int = 1) -> LossLog:
    log = LossLog()
    for number, loss in enumerate(losses):
        log.add(torch.tensor(loss))
        if number % every == 0:
            log.flush()
    log.flush()
    return log


def averages(losses: list[float]) -> np.ndarray:
    """The moving average after each step, from its definition."""
    found = []
    for end in range(1, len(losses) + 1):
        weights = MEMORY ** np.arange(end)[::-1]
        found.append((weights * losses[:end]).sum() / weights.sum())
    return np.array(found)


def test_the_average_weighs_steps_by_their_age() -> None:
    losses = [3.0, 1.0, 2.0, 5.0, 0.5]
    assert log_of(losses).average == pytest.approx(averages(losses)[-1])
    assert log_of(losses, every=3).average == pytest.approx(averages(losses)[-1])


def test_the_slope_is_that_of_the_last_quarter_relative_to_the_loss_there() -> None:
    losses = [4 - 0.03 * step for step in range(100)]
    last, steps = averages(losses)[75:], np.arange(76, 101)
    expected = np.polyfit(steps, last, 1)[0] * 100 / last.mean()
    assert log_of(losses).summary().loss_slope == pytest.approx(expected)
    assert expected < -0.5


def test_a_loss_that_stays_has_no_slope_and_one_point_none() -> None:
    assert log_of([2.0] * 40).summary().loss_slope == pytest.approx(0, abs=1e-9)
    assert log_of([2.0]).summary().loss_slope is None
    assert log_of([0.0] * 40).summary().loss_slope == 0


def test_the_plateau_begins_where_the_average_was_last_a_hundredth_lower() -> None:
    assert log_of([1.0] * 30).summary().steps_since_plateau == 29
    assert log_of([2.0**-step for step in range(30)]).summary().steps_since_plateau == 0
    negative = [-(1.1**step) for step in range(30)]
    assert log_of(negative).summary().steps_since_plateau == 0


def test_the_gap_is_validation_less_training_in_the_last_epoch() -> None:
    log = LossLog()
    assert log.summary().validation_gap is None
    for losses, validation in (((5.0, 5.0), 9.0), ((1.0, 2.0, 3.0), 2.5)):
        for loss in losses:
            log.add(torch.tensor(loss))
        log.epoch(validation)
    assert log.summary().validation_gap == pytest.approx(0.5)


def test_a_diverged_loss_cannot_be_recorded() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(ValidationError, match="loss_slope"):
            log_of([1.0] * 20 + [bad] * 20).summary()
