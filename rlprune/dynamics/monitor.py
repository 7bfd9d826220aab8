"""Watch a network while it learns.

    with Monitor(model, steps=1000) as monitor:
        for inputs, targets in batches:
            loss = ...
            loss.backward()
            monitor.step(loss)
            optimizer.step()
        monitor.epoch(validation_loss)
        dynamics = monitor.close(held_out, path)

The training is not changed by it, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from torch import Tensor, nn

from rlprune.dynamics.activations import Hooks
from rlprune.dynamics.checkpoints import Checkpoints
from rlprune.dynamics.gradients import GradientSums
from rlprune.dynamics.layers import watched
from rlprune.dynamics.loss_log import LossLog
from rlprune.dynamics.probe import HeldOut, Measured, layer_of, measure, only_finite
from rlprune.dynamics.record import DataTraits, Dynamics, scalars
from rlprune.dynamics.storage import write_dynamics
from rlprune.errors import DynamicsError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVERY = 16
"""Steps from one look at activations and gradients to the next."""

LOOKS = 16
"""Least number of looks in a training; a short one is looked at more often."""

TAG = "dynamics"
"""First part of all TensorBoard tags."""


class Monitor:
    """Collects a dynamics record; `close` gives it.

    Gradients and activations are those since half of the training, or of all of it if half was not
    reached.

    Args:
        model: any module; its hooks go with `close`, or with the end of a `with` block.
        steps: how many are planned.
        every: steps from one look to the next, `EVERY` or fewer when None; the loss is seen at
            every step.
        weights: names of the weights to watch; all with two or more dimensions when None.
        writer: where `dynamics/BLOCK/NAME/WEIGHT` is written at every epoch and at the end.

    Raises:
        DynamicsError: if there is nothing to watch.
        UnknownNameError: if a weight does not exist.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        steps: int,
        every: int | None = None,
        weights: Sequence[str] | None = None,
        writer: SummaryWriter | None = None,
    ) -> None:
        if every is None:
            every = max(1, min(EVERY, steps // LOOKS))
        if steps < 1 or every < 1:
            raise DynamicsError(
                f"a training of {steps} steps cannot be watched every {every}; give 1 or more"
            )
        self._every, self._writer = every, writer
        self._halfway = steps // 2
        self._layers = watched(model, weights)
        self._loss = LossLog()
        self._checkpoints = Checkpoints(self._layers)
        self._gradients = GradientSums()
        self._done = 0
        self._hooks = Hooks(self._layers, lambda: model.training)
        self._hooks.attach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hooks.remove()

    def step(self, loss: Tensor) -> None:
        """Look at one step: after the backward pass and before the optimizer's own step.

        Args:
            loss: of the mini-batch, a scalar. Gradients are taken as they are, so a scaler must
                have unscaled them.
        """
        self._loss.add(loss)
        if self._done % self._every == 0:
            self._loss.flush()
            weights = {layer.name: layer.values for layer in self._layers}
            self._gradients.add(weights, {layer.name: layer.weight.grad for layer in self._layers})
            self._hooks.remove()  # those that do nothing cost time, too
        self._done += 1
        if self._done % self._every == 0:
            self._hooks.attach()
        if self._done == self._halfway:
            self._checkpoints.halfway()
            self._gradients = GradientSums()
            self._hooks.reset()

    def epoch(self, validation_loss: float | None = None) -> None:
        """End an epoch: a checkpoint for the masks, and TensorBoard.

        Args:
            validation_loss: mean loss on the validation split, if it is known.
        """
        self._loss.epoch(validation_loss)
        self._checkpoints.epoch()
        if self._writer is not None:
            with only_finite():
                self._write(self._record(None))

    def close(self, held_out: HeldOut | None = None, path: Path | None = None) -> Dynamics:
        """Remove the hooks, measure the finished network and return all that is known.

        Args:
            held_out: the network on samples that it did not learn from; without it there is
                neither curvature nor data.
            path: the record is written here, such as to NAME.dynamics.json.

        Raises:
            DynamicsError: if numbers are not finite.
        """
        self._hooks.remove()
        with only_finite():
            dynamics = self._record(measure(held_out, self._layers) if held_out else None)
        self._write(dynamics)
        if path is not None:
            write_dynamics(path, dynamics)
        return dynamics

    def _record(self, measured: Measured | None) -> Dynamics:
        data: DataTraits | None = measured.data if measured else None
        layers = tuple(
            layer_of(
                layer,
                self._gradients,
                self._hooks,
                measured.curvature[layer.name] if measured else None,
                self._checkpoints.summary(layer),
            )
            for layer in self._layers
        )
        trajectory = self._loss.summary()
        return Dynamics(
            watched=True, steps=self._done, layers=layers, trajectory=trajectory, data=data
        )

    def _write(self, dynamics: Dynamics) -> None:
        if self._writer is None:
            return
        self._writer.add_scalar(f"{TAG}/trajectory/loss", self._loss.average, self._done)
        for name, value in scalars(dynamics.layers, dynamics.trajectory, dynamics.data):
            self._writer.add_scalar(f"{TAG}/{name}", value, self._done)
