"""What a task means by loss, by quality and by distance to the dense network."""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor
from torch.nn import functional as F

from rlprune.calling import Inputs, shapes, tensors_in
from rlprune.errors import ModelError

TEMPERATURE = 2.0
"""Softens both distributions in distillation (Hinton et al., 2015)."""

_TINY = 1e-12  # keeps the logarithm of a perfect or a diverged reconstruction finite


class Task(Protocol):
    """Loss and metrics of one kind of problem; all arguments are batches, results are means."""

    name: str
    metric: str
    distance: str

    def divergence(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """Distance to the dense network, >= 0, lower is better: the search score."""

    def quality(self, outputs: Tensor, inputs: Inputs, targets: Tensor) -> float:
        """Value of `metric`, higher is better."""

    def loss(self, outputs: Tensor, inputs: Inputs, targets: Tensor) -> Tensor:
        """Training loss."""

    def distillation(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """Loss that pulls the outputs towards the dense network's."""


class Classification:
    """Logits `(N, K)` against class indices `(N,)`."""

    name = "classification"
    metric = "accuracy"
    distance = "kl"

    def divergence(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """KL(dense || pruned) in nats; rounding takes it below zero where the two are equal."""
        divergences = F.kl_div(
            outputs.log_softmax(1),
            dense_outputs.log_softmax(1),
            log_target=True,
            reduction="none",
        ).sum(1)
        return divergences.mean().clamp(min=0)

    def quality(self, outputs: Tensor, inputs: Inputs, targets: Tensor) -> float:
        """Fraction of correct predictions, in [0, 1]."""
        return float((outputs.argmax(1) == targets).float().mean())

    def loss(self, outputs: Tensor, inputs: Inputs, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def distillation(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """KL at temperature 2, scaled by its square as in Hinton et al. (2015)."""
        return TEMPERATURE**2 * self.divergence(outputs / TEMPERATURE, dense_outputs / TEMPERATURE)


class Imitation(Classification):
    """Classes are what the dense network predicts."""

    metric = "agreement"


class Reconstruction:
    """Outputs of the targets' own shape; where targets are classes, of the first input's."""

    name = "reconstruction"
    metric = "psnr_db"
    distance = "mse"

    def divergence(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """Mean squared difference to the dense network's output."""
        return F.mse_loss(outputs, dense_outputs)

    def quality(self, outputs: Tensor, inputs: Inputs, targets: Tensor) -> float:
        """Peak signal-to-noise ratio in dB, the peak being the range of what is rebuilt."""
        aim = self._aim(inputs, targets)
        error = float(F.mse_loss(outputs, aim))
        peak = float(aim.max() - aim.min())
        return 10 * math.log10(max(peak**2 / max(error, _TINY), _TINY))

    def loss(self, outputs: Tensor, inputs: Inputs, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(outputs, self._aim(inputs, targets))

    def distillation(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """Mean squared difference to the dense network's output."""
        return F.mse_loss(outputs, dense_outputs)

    @staticmethod
    def _aim(inputs: Inputs, targets: Tensor) -> Tensor:
        return targets if targets.is_floating_point() else tensors_in(inputs)[0]


def infer_task(
    outputs: Tensor,
    inputs: Inputs,
    targets: Tensor,
    num_classes: int,
    is_imitated: bool = False,
) -> Task:
    """Tell the task from the targets and from the shapes of a dense forward pass.

    Args:
        outputs: what the network returned, its main output.
        inputs: what it was given.
        targets: classes (integers), or tensors to rebuild (floating point).
        num_classes: how many classes there are.
        is_imitated: whether they are predictions.

    Raises:
        ModelError: if the outputs are neither logits for every class nor a reconstruction.
    """
    if targets.is_floating_point():
        if outputs.shape == targets.shape:
            return Reconstruction()
        raise ModelError(
            f"the model returns shape {tuple(outputs.shape)} for targets {tuple(targets.shape)}; "
            "expected both alike"
        )
    first, count = tensors_in(inputs)[0], len(targets)
    logits = outputs.ndim == 2 and len(outputs) == count and outputs.shape[1] >= num_classes
    exact = logits and outputs.shape[1] == num_classes  # even where the inputs have that shape too
    if outputs.shape == first.shape and first.is_floating_point() and not exact:
        return Reconstruction()
    if logits:
        return Imitation() if is_imitated else Classification()
    raise ModelError(
        f"the model returns shape {tuple(outputs.shape)} for inputs {shapes(inputs)}; "
        f"expected logits ({count}, {num_classes}) or a reconstruction of the first input"
    )
