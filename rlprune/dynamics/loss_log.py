"""The training loss step by step: its moving average, slope, plateau and gap to validation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from rlprune.dynamics.record import Trajectory

MEMORY = 0.98
"""Of the moving average, per step: it forgets in about 50."""

_PROGRESS = 0.01
_LAST = 0.25


class LossLog:
    """Losses of all steps.

    Attributes:
        steps: how many there were, those that wait in `flush` left out.
        average: the moving average, without the bias of its start; 0 before the first step.
        validation_gap: of the last epoch, or None.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.average = 0.0
        self.validation_gap: float | None = None
        self._pending: list[Tensor] = []
        self._sum = 0.0
        self._best, self._best_step = float("inf"), 0
        self._history: list[tuple[int, float]] = []
        self._epoch_sum, self._epoch_steps = 0.0, 0

    def add(self, loss: Tensor) -> None:
        """Take in the loss of a step, a scalar; the device is not waited for."""
        self._pending.append(loss.detach())

    def flush(self) -> None:
        """Read the losses that wait, and note the moving average."""
        if not self._pending:
            return
        for value in torch.stack(self._pending).to("cpu", torch.float64).tolist():
            self._take(value)
        self._pending.clear()
        self._history.append((self.steps, self.average))

    def epoch(self, validation_loss: float | None) -> None:
        """End an epoch."""
        self.flush()
        if validation_loss is not None and self._epoch_steps:
            self.validation_gap = validation_loss - self._epoch_sum / self._epoch_steps
        self._epoch_sum, self._epoch_steps = 0.0, 0

    def summary(self) -> Trajectory:
        """Return the indicators."""
        self.flush()
        return Trajectory(
            loss_slope=self._slope(),
            steps_since_plateau=self.steps - self._best_step,
            validation_gap=self.validation_gap,
        )

    def _take(self, value: float) -> None:
        self.steps += 1
        self._epoch_sum += value
        self._epoch_steps += 1
        self._sum = MEMORY * self._sum + (1 - MEMORY) * value
        self.average = self._sum / (1 - MEMORY**self.steps)
        if self.steps == 1 or self.average < self._best - _PROGRESS * abs(self._best):
            self._best, self._best_step = self.average, self.steps

    def _slope(self) -> float | None:
        points = [(s, a) for s, a in self._history if s > (1 - _LAST) * self.steps]
        if len(points) < 2:
            return None
        steps, averages = np.array(points).T
        if not np.isfinite(averages).all():
            return math.nan  # which a record refuses
        size = float(np.abs(averages).mean())
        slope = float(np.polyfit(steps - steps.mean(), averages, 1)[0])
        return slope * self.steps / size if size else 0.0
