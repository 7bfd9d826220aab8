"""What an entry of an observation is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rlprune.graph.group_graph import GroupGraph

Features = npt.NDArray[np.float32]
Column = npt.NDArray[np.float64]

_SMALLEST = 1e-6


@dataclass(frozen=True)
class Feature:
    """One entry of an observation, clipped to its range.

    Attributes:
        name: unique among all entries.
        meaning: its definition.
        unit: such as `share` or `nats`.
        low: smallest value.
        high: largest value.
    """

    name: str
    meaning: str
    unit: str
    low: float
    high: float


def flag(name: str, meaning: str) -> Feature:
    """Describe what is either so or not."""
    return Feature(name, meaning, "0 or 1", 0.0, 1.0)


def share(name: str, meaning: str) -> Feature:
    """Describe a part of a whole."""
    return Feature(name, meaning, "share", 0.0, 1.0)


def log4(name: str, meaning: str) -> Feature:
    """Describe a number by its logarithm to base 4."""
    return Feature(name, meaning, "log4", -5.0, 5.0)


def nats(name: str, meaning: str) -> Feature:
    """Describe a number by its natural logarithm."""
    return Feature(name, meaning, "nats", -5.0, 5.0)


def bounded(columns: Sequence[Column | float], features: Sequence[Feature]) -> Features:
    """Stack one column for each feature, clipped to their ranges; what is no number becomes 0."""
    low, high = np.array([(one.low, one.high) for one in features]).T
    stacked = np.nan_to_num(np.stack([np.asarray(one, float) for one in columns], axis=-1))
    return np.asarray(np.clip(stacked, low, high), dtype=np.float32)


def log_relative(graph: GroupGraph, values: Column) -> Column:
    """Return the log of positive values over their mean over groups of channels."""
    positive = np.maximum(values, _SMALLEST)
    channels = positive[~graph.is_block]
    return np.asarray(np.log(positive / (channels if len(channels) else positive).mean()))
