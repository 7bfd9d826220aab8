"""Criteria by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from rlprune.criteria.activations import ActivationMean, ActivationVariance, APoZ
from rlprune.criteria.base import (
    ChannelScores,
    Criterion,
    Probe,
    WeightCriterion,
    WeightScores,
    check_needs,
    check_scores,
)
from rlprune.criteria.batchnorm import BatchNormScale
from rlprune.criteria.composite import PRESETS, MultiMetric
from rlprune.criteria.fisher import Fisher, Hessian
from rlprune.criteria.fpgm import FPGM
from rlprune.criteria.lamp import LAMP
from rlprune.criteria.layer_obs import LayerOBS
from rlprune.criteria.normalise import NORMALISERS
from rlprune.criteria.norms import L1, L2
from rlprune.criteria.random_scores import RandomScores
from rlprune.criteria.screening import Screening, ScreeningF, one_vs_rest
from rlprune.criteria.snip import Snip
from rlprune.criteria.taylor import SecondOrderTaylor, Taylor
from rlprune.errors import CriterionError, UnknownNameError


def multi_metric(weights: Mapping[str, float], name: str = "multi-metric") -> MultiMetric:
    """Combine criteria by name, as in `multi_metric({"taylor": 0.5, "l2": 0.5})`.

    Raises:
        CriterionError: if weights are negative, or none is positive.
        UnknownNameError: if there is no such criterion, with the closest.
    """
    return MultiMetric(name, [(criterion_named(one), weight) for one, weight in weights.items()])


CRITERIA: dict[str, Callable[[], Criterion]] = {
    "random": RandomScores,
    "l1": L1,
    "l2": L2,
    "batchnorm": BatchNormScale,
    "fpgm": FPGM,
    "lamp": LAMP,
    "apoz": APoZ,
    "activation-mean": ActivationMean,
    "activation-variance": ActivationVariance,
    "screening-f": ScreeningF,
    "screening": Screening,
    "screening-one-vs-rest": partial(Screening, "screening-one-vs-rest", one_vs_rest),
    **{name: partial(multi_metric, weights, name) for name, weights in PRESETS.items()},
    "layer-obs": LayerOBS,
    "taylor": Taylor,
    "taylor-second-order": SecondOrderTaylor,
    "fisher": Fisher,
    "hessian": Hessian,
    "snip": Snip,
}


def criterion_named(name: str) -> Criterion:
    """Return a criterion.

    Raises:
        UnknownNameError: if there is none of that name, with the closest.
    """
    if name not in CRITERIA:
        raise UnknownNameError("criterion", name, CRITERIA)
    return CRITERIA[name]()


def channel_scores(name: str, probe: Probe, normaliser: str = "none") -> ChannelScores:
    """Score the channels of every group.

    Args:
        name: of a criterion.
        probe: the network and the samples to look at.
        normaliser: what makes scores of different groups comparable: none, mean, rank or lamp.

    Raises:
        CriterionError: if the criterion cannot be computed on the probe.
        UnknownNameError: if there is no such criterion or normaliser.
    """
    criterion = criterion_named(name)
    if normaliser not in NORMALISERS:
        raise UnknownNameError("normaliser", normaliser, NORMALISERS)
    check_needs(criterion, probe)
    scores = criterion.channels(probe)
    check_scores(criterion, scores)
    return NORMALISERS[normaliser](scores)


def weight_scores(name: str, probe: Probe) -> WeightScores:
    """Score single weights, of every parameter with two or more dimensions.

    Args:
        name: of a criterion.
        probe: the network and the samples to look at.

    Raises:
        CriterionError: if the criterion scores channels only, or cannot be computed on the probe.
        UnknownNameError: if there is no such criterion.
    """
    criterion = criterion_named(name)
    if not isinstance(criterion, WeightCriterion):
        able = (one for one in CRITERIA if isinstance(criterion_named(one), WeightCriterion))
        raise CriterionError(
            f"criterion {name!r} scores channels and no single weights; take one of "
            f"{', '.join(able)}"
        )
    check_needs(criterion, probe)
    scores = criterion.weights(probe)
    check_scores(criterion, scores)
    return scores
