"""Scores by what neurons answer: zeros, size and variance of the activations that layers read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlprune.criteria.reading import Feature, Reading, per_group, readings_of
from rlprune.criteria.watching import streamed

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe
    from rlprune.criteria.moments import Moments


class APoZ:
    """Share of activations that are not zero, over samples and pixels or tokens.

    One minus the average percentage of zeros (Hu et al., Network Trimming, 2016), so that higher
    means keep first. It ranks nothing behind an activation without zeros, such as GELU.
    """

    name = "apoz"
    needs: frozenset[Need] = frozenset({"samples"})

    def channels(self, probe: Probe) -> ChannelScores:
        """Return shares, in [0, 1]."""
        return _means(probe, _share_not_zero)


class ActivationMean:
    """Mean absolute activation (variant of A05; Molchanov et al., ICLR 2017, compare with it)."""

    name = "activation-mean"
    needs: frozenset[Need] = frozenset({"samples"})

    def channels(self, probe: Probe) -> ChannelScores:
        """Return means, in the unit of the activations."""
        return _means(probe, _mean_size)


class ActivationVariance:
    """Variance over samples and pixels or tokens; 0 means that a bias can replace the channel."""

    name = "activation-variance"
    needs: frozenset[Need] = frozenset({"samples"})

    def channels(self, probe: Probe) -> ChannelScores:
        """Return variances, in the squared unit of the activations."""
        readings = readings_of(probe.model, probe.graph)
        moments = _moments(probe, readings, _mean_and_variance)
        return per_group(probe.graph, readings, [_total_variance(one) for one in moments])


def _means(probe: Probe, feature: Feature) -> ChannelScores:
    readings = readings_of(probe.model, probe.graph)
    moments = _moments(probe, readings, feature)
    return per_group(probe.graph, readings, [one.mean for one in moments])


def _moments(probe: Probe, readings: list[Reading], feature: Feature) -> list[Moments]:
    all_alike = torch.zeros(len(probe), dtype=torch.int64)
    return streamed(probe, readings, feature, all_alike, classes=1)


def _share_not_zero(values: Tensor, reading: Reading) -> Tensor:
    return reading.folded(values.ne(0).double().mean(2))


def _mean_size(values: Tensor, reading: Reading) -> Tensor:
    return reading.folded(values.abs().mean(2))


def _mean_and_variance(values: Tensor, reading: Reading) -> Tensor:
    """Two features of a sample's channel: the mean over its points and the variance there."""
    means = reading.folded(values.mean(2))
    deviations = values - means[:, reading.roots.to(means.device)].unsqueeze(2)
    return torch.cat([means, reading.folded((deviations**2).mean(2))], 1)


def _total_variance(moments: Moments) -> Tensor:
    """Variance of the means over samples plus mean of the variances within them."""
    of_means, _ = moments.variance.chunk(2)
    _, within = moments.mean.chunk(2)
    return of_means + within
