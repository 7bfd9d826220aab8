"""Every number that a dynamics record holds: its definition, its unit and its range, in one table.

The blocks are those of an architecture-aware, dynamics-aware agent's observation. Nothing depends
on how many layers a network has, or on their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

Block = Literal["weights", "gradients", "activations", "curvature", "drift", "trajectory", "data"]

LAYER_BLOCKS: tuple[Block, ...] = ("weights", "gradients", "activations", "curvature", "drift")

_ROUNDING = 1e-6  # the ends of a range are not sharper than this
_SHARE, _POSITIVE, _ANY = (0.0, 1.0), (0.0, inf), (-inf, inf)


@dataclass(frozen=True)
class Indicator:
    """One number of a record.

    Attributes:
        block: where it stands.
        name: of the field there.
        meaning: its definition.
        unit: such as `nats`; a share is of the thing that it names.
        range: smallest and largest value.
    """

    block: Block
    name: str
    meaning: str
    unit: str
    range: tuple[float, float]

    def holds(self, value: float) -> bool:
        """Whether a value is in range; infinity never is."""
        low, high = self.range
        return abs(value) < inf and low - _ROUNDING <= value <= high + _ROUNDING


INDICATORS: tuple[Indicator, ...] = (
    Indicator(
        "weights",
        "stable_rank",
        "squared Frobenius over squared spectral norm of the weight as (first dimension, rest)",
        "share of the smaller of the two sizes",
        _SHARE,
    ),
    Indicator(
        "gradients",
        "log_rms",
        "natural log of the gradient's root mean square over elements and mini-batches",
        "nats; -27.6 where there is no gradient",
        (-28.0, inf),
    ),
    Indicator(
        "gradients",
        "weight_ratio",
        "norm of the gradient over norm of the weight, mean over mini-batches",
        "loss per squared weight",
        _POSITIVE,
    ),
    Indicator(
        "gradients",
        "snr",
        "norm of the mean gradient over norm of its standard deviation over mini-batches",
        "ratio, at most 100",
        (0.0, 100.0),
    ),
    Indicator(
        "gradients",
        "taylor_share",
        "sum of |weight x gradient| over elements, mean over mini-batches",
        "share of all watched weights",
        _SHARE,
    ),
    Indicator(
        "activations",
        "mean_abs",
        "mean absolute value of what the layer reads, over channels, samples and points",
        "that of the activations",
        _POSITIVE,
    ),
    Indicator(
        "activations",
        "apoz",
        "zeros in what the layer reads (average percentage of zeros, Hu et al., 2016)",
        "share of values",
        _SHARE,
    ),
    Indicator(
        "activations",
        "dead",
        "channels that the layer reads that are zero wherever they were looked at",
        "share of channels",
        _SHARE,
    ),
    Indicator(
        "activations",
        "correlation",
        "mean absolute correlation of two different channels that the layer reads",
        "correlation; 0 with fewer than two channels that vary",
        _SHARE,
    ),
    Indicator(
        "activations",
        "effective_rank",
        "exp of the entropy of the eigenvalues of channels' covariance (Roy and Vetterli, 2007)",
        "share of channels; 0 where nothing varies",
        _SHARE,
    ),
    Indicator(
        "curvature",
        "hessian_trace",
        "trace of the Hessian restricted to the weight (Hutchinson's estimate) over its elements",
        "loss per squared weight; none where an operation has no second derivative",
        _ANY,
    ),
    Indicator(
        "curvature",
        "fisher",
        "mean squared gradient of single samples, over elements, estimated from mini-batches",
        "squared loss per squared weight",
        _POSITIVE,
    ),
    Indicator(
        "curvature",
        "sharpness",
        "increase of the loss when the weight moves in a random direction by its own norm",
        "that of the loss",
        _ANY,
    ),
    Indicator(
        "drift",
        "weight_drift",
        "norm of the change since half of the training over the norm of the weight",
        "ratio; none if half was not reached",
        _POSITIVE,
    ),
    Indicator(
        "drift",
        "mask_distance",
        "channels on another side of the median L2 norm than at the checkpoint before the last "
        "(Early-Bird tickets, You et al., 2020)",
        "share of output channels; none with fewer than two checkpoints",
        _SHARE,
    ),
    Indicator(
        "trajectory",
        "loss_slope",
        "slope of the loss's moving average over the last quarter of steps, over its mean there",
        "relative change per training; none with fewer than two points",
        _ANY,
    ),
    Indicator(
        "trajectory",
        "steps_since_plateau",
        "steps since the loss's moving average was last 1 % lower than ever before",
        "steps",
        _POSITIVE,
    ),
    Indicator(
        "trajectory",
        "validation_gap",
        "validation loss less mean training loss of the last epoch",
        "that of the loss; none if it was not told",
        _ANY,
    ),
    Indicator("data", "log_classes", "log of the number of classes", "nats", _POSITIVE),
    Indicator(
        "data", "log_samples_per_class", "log of training samples per class", "nats", _POSITIVE
    ),
    Indicator("data", "log_input_size", "log of the numbers in one input", "nats", _POSITIVE),
    Indicator(
        "data",
        "label_entropy",
        "entropy of the labels over the log of the number of classes; 0 for a single class",
        "share of the greatest entropy",
        _SHARE,
    ),
    Indicator(
        "data",
        "dense_error",
        "wrong predictions on held-out samples; of a reconstruction, mean squared error / peak^2",
        "share of samples, or of the squared peak",
        _POSITIVE,
    ),
    Indicator(
        "data",
        "mean_margin",
        "probability of the right class less that of the likeliest other one, mean over samples",
        "probability; none without classes",
        (-1.0, 1.0),
    ),
)
"""All of them, block by block, in the order of the record's fields."""


def indicators_of(block: Block) -> tuple[Indicator, ...]:
    """Return the indicators of one block."""
    return tuple(one for one in INDICATORS if one.block == block)
