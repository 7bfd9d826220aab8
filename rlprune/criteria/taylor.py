"""How much the loss changes when a gate closes, by Taylor expansion (Molchanov et al., CVPR 2019).

The gates are after BatchNorm and nothing is normalised per group, which is what makes the scores of
all groups comparable. The squares are taken for each small batch: the mean gradient over many
samples vanishes where a network is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rlprune.criteria.gates import Gates
from rlprune.criteria.gradients import diagonal_draw, gradients, signs, twice_differentiable

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe

BATCH = 10


class _OfGates:
    """Scores from slopes by gates.

    Args:
        batch: samples over which a gradient is averaged before it is squared.
    """

    needs: frozenset[Need] = frozenset({"samples", "gradients"})

    def __init__(self, batch: int = BATCH) -> None:
        self._batch = batch


class Taylor(_OfGates):
    """The mean over small batches of the squared gradient by each gate: `E[(dL/dz)^2]`."""

    name = "taylor"

    @torch.enable_grad()
    def channels(self, probe: Probe) -> ChannelScores:
        """Return the expected squared change of the loss, to first order."""
        gates = Gates(probe)
        squares = torch.zeros(len(gates.open), dtype=torch.float64)
        for inputs, targets in probe.batches(self._batch):
            (slope,) = gradients(gates.loss(gates.open, inputs, targets), [gates.open])
            squares += len(targets) * slope.to("cpu", torch.float64).square()
        return gates.channels(squares / len(probe))


class SecondOrderTaylor(_OfGates):
    """The same to second order: `E[(dL/dz - H/2)^2]`, H being the gate's own second derivative.

    Closing a gate takes z from 1 to 0, which changes the loss by `-dL/dz + H/2`. The diagonal of
    the gates' Hessian is Hutchinson's estimate with one Rademacher vector per batch, averaged over
    all of them before it meets the gradients: squaring single draws would add their noise.
    """

    name = "taylor-second-order"

    @torch.enable_grad()
    def channels(self, probe: Probe) -> ChannelScores:
        """Return the expected squared change of the loss, to second order."""
        gates = Gates(probe)
        generator = torch.Generator().manual_seed(probe.seed)
        squares, mean, curvature = torch.zeros(3, len(gates.open), dtype=torch.float64)
        for inputs, targets in probe.batches(self._batch):
            with twice_differentiable():
                loss = gates.loss(gates.open, inputs, targets)
                slopes = gradients(loss, [gates.open], differentiable=True)
                (draw,) = diagonal_draw(slopes, [gates.open], signs(slopes, generator))
            share = len(targets) / len(probe)
            slope = slopes[0].detach().to("cpu", torch.float64)
            squares += share * slope.square()
            mean += share * slope
            curvature += share * draw.to("cpu", torch.float64)
        expected = squares - mean * curvature + curvature.square() / 4
        return gates.channels(expected.clamp_min(0))  # not negative but for rounding
