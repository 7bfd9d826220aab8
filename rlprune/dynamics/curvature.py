"""The loss around a finished network: its Hessian, and what a random push costs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlprune.calling import Inputs
from rlprune.criteria.base import Probe
from rlprune.criteria.gradients import (
    diagonal_draw,
    gradients,
    leaves,
    loss_at,
    signs,
    twice_differentiable,
)
from rlprune.errors import CriterionError

VECTORS = 11
"""Rademacher vectors, one backward pass each."""

Batch = tuple[Inputs, Tensor]


@torch.enable_grad()
def hessian_traces(
    on: Probe, weights: Sequence[str], batch: Batch, vectors: int = VECTORS
) -> dict[str, float] | None:
    """Estimate the trace of the Hessian restricted to each weight, over its number of elements.

    Hutchinson's estimator with vectors over all weights at once, so that `vectors + 1` backward
    passes serve every layer.

    Args:
        on: the network, in eval mode.
        weights: names of its parameters.
        batch: inputs and targets.
        vectors: Rademacher vectors.

    Returns:
        `{weight: trace / elements}`; None if an operation has no second derivative in PyTorch.
    """
    everything = leaves(on)
    tensors = {name: everything[name] for name in weights}
    generator = torch.Generator().manual_seed(on.seed)
    sums = dict.fromkeys(weights, 0.0)
    with twice_differentiable():
        slopes = gradients(loss_at(on, tensors, *batch), [*tensors.values()], differentiable=True)
        for _ in range(vectors):
            drawn = signs([*tensors.values()], generator)
            try:
                draws = diagonal_draw(slopes, [*tensors.values()], drawn)
            except CriterionError:
                return None
            for name, draw in zip(tensors, draws, strict=True):
                sums[name] += float(draw.double().mean()) / vectors
    return sums


@torch.no_grad()
def sharpness(on: Probe, weights: Sequence[str], batch: Batch) -> dict[str, float]:
    """Return the increase of the loss when each weight alone moves by its own norm.

    The direction is random; near the weight the slope along it would hide the curvature.

    Args:
        on: the network, in eval mode.
        weights: names of its parameters.
        batch: inputs and targets.

    Returns:
        `{weight: increase of the loss}`.
    """
    parameters = dict(on.model.named_parameters())
    generator = torch.Generator().manual_seed(on.seed)
    calm = loss_at(on, {}, *batch)
    found = {}
    for name in weights:
        weight = parameters[name]
        push = torch.randn(weight.shape, generator=generator).to(weight)
        moved = weight + push * (weight.norm() / push.norm())
        found[name] = float(loss_at(on, {name: moved}, *batch) - calm)
    return found
