"""How a group came to be what it is: gradients, activations, curvature, drift while it learned.

What is known stands in the record that the monitor wrote beside the weights; a network without one
shows neutral values and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from rlprune.dynamics.record import Dynamics, Layer
from rlprune.envs.observation.feature import Column, Feature, flag, nats, share
from rlprune.envs.observation.layers import Layers
from rlprune.graph.group_graph import GroupGraph

_LEAST = 1e-12

_RELATIVE = (
    ("gradients", "log_rms", "root mean square of gradients by its weights"),
    ("gradients", "weight_ratio", "norm of gradients over norm of weights"),
    ("gradients", "snr", "mean over standard deviation of gradients"),
    ("gradients", "taylor_share", "sum of |weight x gradient|"),
    ("curvature", "fisher", "squared gradient of single samples"),
    ("curvature", "hessian_trace", "mean diagonal of the Hessian, where it is positive"),
    ("drift", "weight_drift", "change of the weights since half of the training"),
)
"""Of the layers that write a group: their values mean something next to those of other groups."""

_WRITTEN = (
    ("weights", "stable_rank", "squared Frobenius over squared spectral norm"),
    ("drift", "mask_distance", "channels that crossed the median norm since a checkpoint"),
)
"""Of the same layers."""

_READ = (
    ("activations", "apoz", "zeros among its activations"),
    ("activations", "dead", "channels that are never anything but zero"),
    ("activations", "correlation", "mean absolute correlation of two channels"),
    ("activations", "effective_rank", "effective rank of the covariance of channels"),
)
"""Of the layers that read a group, whose inputs its channels are."""

DYNAMICS: tuple[Feature, ...] = (
    flag("recorded", "1 if a record of the training says something of its layers"),
    *(
        nats(name, f"{meaning}, over the geometric mean over groups of channels")
        for _, name, meaning in _RELATIVE
    ),
    *(share(name, meaning) for _, name, meaning in (*_WRITTEN, *_READ)),
)
"""Means over the layers of a group; 0 where nothing is known."""


def dynamics(graph: GroupGraph, layers: Sequence[Layers], record: Dynamics | None) -> list[Column]:
    """Return a column for each of `DYNAMICS`."""
    known = {} if record is None else record.by_weight
    written = [_known(known, one.written) for one in layers]
    read = [_known(known, one.read) for one in layers]
    return [
        np.array([float(bool(found)) for found in written]),
        *(
            _centred(graph, [_mean_log(found, block, name) for found in written])
            for block, name, _ in _RELATIVE
        ),
        *(np.array([_mean(found, b, name) for found in written]) for b, name, _ in _WRITTEN),
        *(np.array([_mean(found, b, name) for found in read]) for b, name, _ in _READ),
    ]


def _known(record: dict[str, Layer], weights: Iterable[str]) -> list[Layer]:
    return [record[weight] for weight in weights if weight in record]


def _values(layers: Sequence[Layer], block: str, name: str) -> list[float]:
    blocks = [getattr(layer, block) for layer in layers]
    values = [getattr(one, name) for one in blocks if one is not None]
    return [float(value) for value in values if value is not None]


def _mean(layers: Sequence[Layer], block: str, name: str) -> float:
    values = _values(layers, block, name)
    return sum(values) / len(values) if values else 0.0


def _mean_log(layers: Sequence[Layer], block: str, name: str) -> float:
    """Return NaN where nothing is known."""
    values = _values(layers, block, name)
    if not name.startswith("log_"):
        values = [math.log(max(value, _LEAST)) for value in values]
    return sum(values) / len(values) if values else math.nan


def _centred(graph: GroupGraph, logs: Sequence[float]) -> Column:
    values = np.array(logs)
    of_channels = values[~graph.is_block & ~np.isnan(values)]
    return np.asarray(np.nan_to_num(values - of_channels.mean() if len(of_channels) else values))
