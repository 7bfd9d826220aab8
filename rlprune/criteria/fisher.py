"""What removing single weights costs, from curvature: empirical Fisher and Hessian diagonals.

Both estimate the change of the loss when a weight w goes to zero by `w^2 H / 2`, H being the
diagonal of the Hessian (Optimal Brain Damage, LeCun et al., 1989). A channel's score is the sum
over all parameters that go with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlprune.criteria.gradients import (
    diagonal_draw,
    gradients,
    leaves,
    loss_at,
    signs,
    twice_differentiable,
)
from rlprune.criteria.members import summed_over_members

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe, WeightScores


class _Curvature:
    """Scores from a diagonal of curvature."""

    needs: frozenset[Need] = frozenset({"samples", "gradients"})

    def diagonal(self, probe: Probe) -> dict[str, Tensor]:
        """Return one number per element of every parameter, in float64."""
        raise NotImplementedError

    def channels(self, probe: Probe) -> ChannelScores:
        """Return the summed saliencies of all coupled members."""
        return summed_over_members(probe.graph, self._saliencies(probe))

    def weights(self, probe: Probe) -> WeightScores:
        """Return saliencies."""
        return {name: one for name, one in self._saliencies(probe).items() if one.ndim > 1}

    def _saliencies(self, probe: Probe) -> dict[str, Tensor]:
        weights = dict(probe.model.named_parameters())
        return {
            name: weights[name].detach().double().square() * curvature.clamp_min(0) / 2
            for name, curvature in self.diagonal(probe).items()
        }


class Fisher(_Curvature):
    """Empirical Fisher: the mean squared gradient (Theis et al., 2018).

    Args:
        batch: samples over which a gradient is averaged before it is squared. 1 is the empirical
            Fisher itself; small batches are faster and rank alike where the mean gradient is small.
    """

    name = "fisher"

    def __init__(self, batch: int = 10) -> None:
        self._batch = batch

    @torch.enable_grad()
    def diagonal(self, probe: Probe) -> dict[str, Tensor]:
        """Return the mean squared gradient."""
        parameters = leaves(probe)
        sums = {name: torch.zeros_like(one).double() for name, one in parameters.items()}
        for inputs, targets in probe.batches(self._batch):
            loss = loss_at(probe, parameters, inputs, targets)
            slopes = gradients(loss, list(parameters.values()))
            for name, slope in zip(parameters, slopes, strict=True):
                sums[name] += len(targets) / len(probe) * slope.double().square()
        return sums


class Hessian(_Curvature):
    """Diagonal of the loss's Hessian over all samples, by Hutchinson's estimator.

    Negative curvature counts as none.

    Args:
        batch: samples per estimate.
        vectors: Rademacher vectors per batch.
    """

    name = "hessian"

    def __init__(self, batch: int = 64, vectors: int = 4) -> None:
        self._batch, self._vectors = batch, vectors

    @torch.enable_grad()
    def diagonal(self, probe: Probe) -> dict[str, Tensor]:
        """Return the estimated diagonal, negative entries included."""
        parameters = leaves(probe)
        tensors = list(parameters.values())
        generator = torch.Generator().manual_seed(probe.seed)
        sums = {name: torch.zeros_like(one).double() for name, one in parameters.items()}
        for inputs, targets in probe.batches(self._batch):
            share = len(targets) / len(probe) / self._vectors
            with twice_differentiable():
                loss = loss_at(probe, parameters, inputs, targets)
                slopes = gradients(loss, tensors, differentiable=True)
                for _ in range(self._vectors):
                    draws = diagonal_draw(slopes, tensors, signs(tensors, generator))
                    for name, draw in zip(parameters, draws, strict=True):
                        sums[name] += share * draw.double()
        return sums
