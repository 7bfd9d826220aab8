"""Criteria by name."""

from __future__ import annotations

from collections.abc import Callable

from rlprune.criteria.base import (
    ChannelScores,
    Criterion,
    Probe,
    check_needs,
    check_scores,
)
from rlprune.criteria.normalise import NORMALISERS
from rlprune.criteria.norms import L1, L2
from rlprune.errors import UnknownNameError

CRITERIA: dict[str, Callable[[], Criterion]] = {
    "l1": L1,
    "l2": L2,
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
