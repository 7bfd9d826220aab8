"""Screening: whether a channel tells classes apart (Wang et al., arXiv 2502.07189).

The paper names an F-statistic across classes with a weighted evaluation scheme. What follows is a
reconstruction from that description: the F-statistic of a channel's spatial mean, fused by rank
with the magnitude of its weights. A rank, because F grows with depth. F does not predict what
removing one channel alone does to the loss; it is to be judged after recovery.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from rlprune.criteria.base import check_scores
from rlprune.criteria.normalise import by_rank
from rlprune.criteria.norms import group_norms, magnitudes
from rlprune.criteria.places import over_atoms
from rlprune.criteria.reading import Reading, per_group, readings_of
from rlprune.criteria.watching import streamed
from rlprune.errors import CriterionError

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe, WeightScores
    from rlprune.criteria.moments import Moments

Statistic = Callable[["Moments"], Tensor]

SHARE = 0.5
"""Weight of the statistic against magnitude."""

_CONSTANT = 1e-12  # deviations below this share of the mean are rounding
_TINY = 1e-30


def f_statistic(moments: Moments) -> Tensor:
    """Variance between classes over variance within them, as in a one-way ANOVA.

    Args:
        moments: of a feature per class; classes without samples do not count.

    Returns:
        F, shape `(features,)`: 0 for a constant feature, finite but huge for one that is constant
        within every class.
    """
    classes = (moments.counts > 0).sum()
    freedom = moments.counts.sum() - classes
    between, within = moments.between.sum(0) / (classes - 1), moments.within / freedom
    return _ratio(between, within, moments)


def one_vs_rest(moments: Moments) -> Tensor:
    """Largest F of one class against all others, so that a channel for a rare class stays."""
    total, present = moments.counts.sum(), moments.counts > 0
    counts, between = moments.counts[present, None], moments.between[present]
    # the rest's mean lies on the other side of the overall mean, n_k / n_rest as far
    of_split = between * total / (total - counts)
    within = moments.within + (between.sum(0) - of_split).clamp_min(0)
    return _ratio(of_split, within / (total - 2), moments).max(0).values


def _ratio(between: Tensor, within: Tensor, moments: Moments) -> Tensor:
    constant = moments.variance <= (_CONSTANT * moments.mean) ** 2
    return torch.where(constant, 0.0, between / within.clamp_min(_TINY))


class ScreeningF:
    """The F-statistic alone, of the spatial mean of what layers read of a channel.

    Args:
        name: in the registry.
        statistic: `f_statistic`, or `one_vs_rest`.
    """

    needs: frozenset[Need] = frozenset({"samples", "labels"})

    def __init__(self, name: str = "screening-f", statistic: Statistic = f_statistic) -> None:
        self.name = name
        self._statistic = statistic

    def channels(self, probe: Probe) -> ChannelScores:
        """Return F, the mean over all layers that read the channel.

        Raises:
            CriterionError: if there are no more samples than classes.
        """
        readings = readings_of(probe.model, probe.graph)
        return per_group(probe.graph, readings, self.of(probe, readings))

    def of(self, probe: Probe, readings: list[Reading]) -> list[Tensor]:
        """Return the statistic of every channel of some readings."""
        if len(probe) <= len(set(probe.targets.tolist())):
            raise CriterionError(
                f"criterion {self.name!r} needs more samples than classes, and the probe set "
                f"holds {len(probe)} samples"
            )
        classes = max(probe.num_classes, int(probe.targets.max()) + 1)
        moments = streamed(probe, readings, _spatial_mean, probe.targets, classes)
        return [self._statistic(one) for one in moments]


class Screening:
    """Rank of the F-statistic fused with the rank of the magnitude.

    Args:
        name: in the registry.
        statistic: `f_statistic`, or `one_vs_rest`.
        share: weight of the statistic's rank, in [0, 1]; the rest is the magnitude's.
    """

    needs: frozenset[Need] = frozenset({"samples", "labels"})

    def __init__(
        self, name: str = "screening", statistic: Statistic = f_statistic, share: float = SHARE
    ) -> None:
        self.name = name
        self._f = ScreeningF(name, statistic)
        self._share = share

    def channels(self, probe: Probe) -> ChannelScores:
        """Return the weighted sum of ranks of F and of the group's L2 norm, in (0, 1]."""
        of_f, of_norm = self._f.channels(probe), group_norms(probe.model, probe.graph)
        check_scores(self, of_norm)
        return {
            group.name: torch.zeros(1).double()
            if group.kind == "block"
            else self._fused(of_f[group.name], over_atoms(group, of_norm[group.name]))
            for group in probe.graph.groups
        }

    def weights(self, probe: Probe) -> WeightScores:
        """Return the weighted sum of ranks, within a layer, of the input's F and of |w|.

        F of `w * a` is F of `a`, so all weights that read one input share it and magnitude tells
        them apart. Weights that no linear or convolutional layer reads count as one input.
        """
        scores = magnitudes(probe)
        check_scores(self, scores)
        layers = {
            name: layer
            for name, layer in probe.model.named_modules()
            if isinstance(layer, nn.Linear | _ConvNd)
            and f"{name}.weight" in {one.weight for one in probe.graph.operations}
        }
        statistics = self._f.of(probe, [_inputs(*one) for one in layers.items()])
        of_inputs = {
            f"{name}.weight": _as_weight(layer, one)
            for (name, layer), one in zip(layers.items(), statistics, strict=True)
        }
        return {
            name: self._fused(of_inputs.get(name, torch.zeros(1)).to(one).expand_as(one), one)
            for name, one in scores.items()
        }

    def _fused(self, of_f: Tensor, magnitude: Tensor) -> Tensor:
        return self._share * by_rank(of_f) + (1 - self._share) * by_rank(magnitude)


def _spatial_mean(values: Tensor, reading: Reading) -> Tensor:
    return reading.folded(values.mean(2))


def _inputs(name: str, layer: nn.Linear | _ConvNd) -> Reading:
    """All that a layer reads, each channel on its own."""
    width = layer.in_channels if isinstance(layer, _ConvNd) else layer.in_features
    return Reading(name, True, 0, torch.arange(width), torch.arange(width), width)


def _as_weight(layer: nn.Linear | _ConvNd, values: Tensor) -> Tensor:
    """Arrange values of input channels so that they broadcast against the layer's weight."""
    if not isinstance(layer, _ConvNd):
        return values
    points = (1,) * len(layer.kernel_size)
    if isinstance(layer, _ConvTransposeNd):
        return values.view(-1, 1, *points)
    of_filter = values.view(layer.groups, -1).repeat_interleave(
        layer.out_channels // layer.groups, 0
    )
    return of_filter.view(*of_filter.shape, *points)
