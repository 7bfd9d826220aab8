"""What a task means by loss, by quality and by distance to the dense network."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from rlprune.errors import ModelError

TEMPERATURE = 2.0
"""Softens both distributions in distillation (Hinton et al., 2015)."""


class Task(Protocol):
    """Loss and metrics of one kind of problem; all arguments are batches, results are means."""

    name: str
    metric: str
    distance: str

    def divergence(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """Distance to the dense network, >= 0, lower is better: the search score."""

    def quality(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> float:
        """Value of `metric`, higher is better."""

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Training loss."""

    def distillation(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """Loss that pulls the outputs towards the dense network's."""


class Classification:
    """Logits `(N, K)` against class indices `(N,)`."""

    name = "classification"
    metric = "accuracy"
    distance = "kl"

    def divergence(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """KL(dense || pruned) in nats."""
        return (
            F.kl_div(
                outputs.log_softmax(1),
                dense_outputs.log_softmax(1),
                log_target=True,
                reduction="none",
            )
            .sum(1)
            .mean()
        )

    def quality(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> float:
        """Fraction of correct predictions, in [0, 1]."""
        return float((outputs.argmax(1) == targets).float().mean())

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def distillation(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """KL at temperature 2, scaled by its square as in Hinton et al. (2015)."""
        return TEMPERATURE**2 * self.divergence(outputs / TEMPERATURE, dense_outputs / TEMPERATURE)


class Reconstruction:
    """Outputs of the inputs' own shape."""

    name = "reconstruction"
    metric = "psnr_db"
    distance = "mse"

    def divergence(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """Mean squared difference to the dense network's output."""
        return F.mse_loss(outputs, dense_outputs)

    def quality(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> float:
        """Peak signal-to-noise ratio in dB, the peak being the range of the inputs."""
        error = float(F.mse_loss(outputs, inputs))
        peak = float(inputs.max() - inputs.min())
        return 10 * math.log10(peak**2 / max(error, 1e-12))

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error to the inputs."""
        return F.mse_loss(outputs, inputs)

    def distillation(self, outputs: Tensor, dense_outputs: Tensor) -> Tensor:
        """Mean squared difference to the dense network's output."""
        return F.mse_loss(outputs, dense_outputs)


def infer_task(outputs: Tensor, inputs: Tensor, num_classes: int) -> Task:
    """Tell the task from the shapes of a dense forward pass.

    Raises:
        ModelError: if the outputs are neither logits for every class nor a reconstruction.
    """
    if not isinstance(outputs, torch.Tensor):
        raise ModelError(
            f"the model returns {type(outputs).__name__}; it must return one tensor of logits "
            "or a reconstruction"
        )
    if outputs.shape == inputs.shape:
        return Reconstruction()
    if outputs.ndim == 2 and outputs.shape[0] == len(inputs) and outputs.shape[1] >= num_classes:
        return Classification()
    raise ModelError(
        f"the model returns shape {tuple(outputs.shape)} for inputs {tuple(inputs.shape)}; "
        f"expected logits ({len(inputs)}, {num_classes}) or a reconstruction of the inputs"
    )
