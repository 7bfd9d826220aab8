"""Means with intervals, paired differences, Pareto fronts, and how well a proxy ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

CONFIDENCE = 0.95
FEWEST_TO_RANK = 3
"""Rank correlations of fewer networks say nothing."""

Point = tuple[float, float]
"""Cost, as a kept fraction, and quality, higher is better."""


class Estimate(BaseModel):
    """A mean over seeds.

    Attributes:
        n: how many values.
        mean: theirs.
        sd: sample standard deviation; None of a single value.
        low: lower end of the 95 % t interval of the mean; None of a single value.
        high: upper end.
    """

    model_config = ConfigDict(frozen=True)

    n: int
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None


def estimate(values: Sequence[float]) -> Estimate:
    """Return mean, standard deviation and 95 % t interval of one value or more."""
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Estimate(n=n, mean=mean)
    sd = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / n**0.5
    return Estimate(n=n, mean=mean, sd=sd, low=mean - half, high=mean + half)


def pareto(points: Sequence[Point]) -> list[int]:
    """Return which points no other one beats: none costs as little and is better, or the like."""
    return [
        i
        for i, (cost, value) in enumerate(points)
        if not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
    ]


def hypervolume(points: Sequence[Point]) -> float:
    """Return the area that points dominate between them and (cost 1, quality 0).

    Points that cost more than 1 or are worse than 0 add nothing.
    """
    area, edge, best = 0.0, 1.0, sorted(points, key=lambda point: (-point[0], point[1]))
    # From the dearest to the cheapest: up to its own cost, each strip is as high as the best of
    # those that cost no more.
    for i, (cost, _) in enumerate(best):
        height = max(value for _, value in best[i:])
        if cost < edge:
            area += (edge - cost) * max(height, 0.0)
            edge = cost
    return area


def rank_correlation(losses: Sequence[float], values: Sequence[float]) -> float | None:
    """Return Spearman's correlation of low losses with high values; None where it has none."""
    if min(len(set(losses)), len(set(values))) < FEWEST_TO_RANK:
        return None
    return float(stats.spearmanr([-loss for loss in losses], values).statistic)


def top_regret(losses: Sequence[float], values: Sequence[float], k: int) -> float:
    """Return how much worse the best of the k of least loss is than the best of all, >= 0."""
    chosen = np.argsort(losses, kind="stable")[:k]
    return float(max(values) - max(values[i] for i in chosen))
