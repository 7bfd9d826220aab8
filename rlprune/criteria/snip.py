"""Connection sensitivity, for pruning before training (SNIP, Lee et al., ICLR 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlprune.criteria.gradients import gradients, leaves, loss_at
from rlprune.criteria.members import summed_over_members

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe, WeightScores

_TINY = 1e-30


class Snip:
    """The gradient's size by a mask on every weight, `|dL/dc| = |w dL/dw|`, on one mini-batch.

    The network is taken as it is, and is meant to be untrained, with an initialisation that scales
    by fan (PyTorch's own does). As in the authors' code it is in inference mode.

    Args:
        batch: samples, the first of the probe.
    """

    name = "snip"
    needs: frozenset[Need] = frozenset({"samples", "gradients"})

    def __init__(self, batch: int = 128) -> None:
        self._batch = batch

    def channels(self, probe: Probe) -> ChannelScores:
        """Return the sum over all coupled members; all parameters of the network sum to 1."""
        return summed_over_members(probe.graph, _normalised(self._sensitivities(probe)))

    def weights(self, probe: Probe) -> WeightScores:
        """Return sensitivities that sum to 1.

        The authors' masks also cover biases; here these and normalisation layers, some per cent of
        the parameters at most, always stay.
        """
        found = self._sensitivities(probe)
        return _normalised({name: one for name, one in found.items() if one.ndim > 1})

    @torch.enable_grad()
    def _sensitivities(self, probe: Probe) -> dict[str, Tensor]:
        inputs, targets = next(probe.batches(self._batch))
        parameters = leaves(probe)
        slopes = gradients(loss_at(probe, parameters, inputs, targets), list(parameters.values()))
        return {
            name: (one.detach().double() * slope.double()).abs()
            for (name, one), slope in zip(parameters.items(), slopes, strict=True)
        }


def _normalised(values: dict[str, Tensor]) -> dict[str, Tensor]:
    total = sum(float(one.sum()) for one in values.values())
    return {name: one / max(total, _TINY) for name, one in values.items()}
