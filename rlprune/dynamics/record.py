"""A dynamics record: what `dynamics.json` holds; `indicators.py` says what each number is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, model_validator

from rlprune.dynamics import indicators


class _Frozen(BaseModel):
    """Immutable, validated, and strict about unknown keys and numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Block(_Frozen):
    """Numbers whose ranges the table of indicators gives."""

    block: ClassVar[indicators.Block]

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name, value in self.values():
            one = next(i for i in indicators.indicators_of(self.block) if i.name == name)
            if not one.holds(value):
                raise ValueError(f"{name} is {value}, not in {one.range}")
        return self

    def values(self) -> Iterator[tuple[str, float]]:
        """Yield names and values, but for those that are not known."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is not None:
                yield name, float(value)


class Weights(_Block):
    """The weight itself."""

    block = "weights"
    stable_rank: float


class Gradients(_Block):
    """Gradients of the loss by a weight, over mini-batches."""

    block = "gradients"
    log_rms: float
    weight_ratio: float
    snr: float
    taylor_share: float


class Activations(_Block):
    """What the layer of a weight reads."""

    block = "activations"
    mean_abs: float
    apoz: float
    dead: float
    correlation: float
    effective_rank: float


class Curvature(_Block):
    """The loss around a finished network, on samples that it did not learn from."""

    block = "curvature"
    hessian_trace: float | None
    fisher: float
    sharpness: float


class Drift(_Block):
    """How a weight moved while the network was trained."""

    block = "drift"
    weight_drift: float | None
    mask_distance: float | None


class Trajectory(_Block):
    """How the training went."""

    block = "trajectory"
    loss_slope: float | None
    steps_since_plateau: NonNegativeInt
    validation_gap: float | None


class DataTraits(_Block):
    """The data that a network was trained on."""

    block = "data"
    log_classes: float
    log_samples_per_class: float
    log_input_size: float
    label_entropy: float
    dense_error: float
    mean_margin: float | None


class Layer(_Frozen):
    """One weight.

    Attributes:
        weight: its name among the model's parameters, which groups of any later trace go by.
        shape: of the weight.
        weights: the weight itself.
        gradients: none where it got no gradient in two mini-batches.
        activations: none where no layer was seen to read anything by this weight.
        curvature: none where no held-out samples were given.
        drift: none of a network that was not watched while it learned.
    """

    weight: str
    shape: tuple[PositiveInt, ...]
    weights: Weights
    gradients: Gradients | None = None
    activations: Activations | None = None
    curvature: Curvature | None = None
    drift: Drift | None = None


class Dynamics(_Frozen):
    """What is known of a network.

    Attributes:
        version: of this format.
        watched: whether the network was watched while it learned. Otherwise gradients and
            activations are those of the finished network in inference mode, and there is neither
            drift nor trajectory.
        steps: that were watched, 0 of a probed network.
        layers: in the order of the model's parameters.
        trajectory: of the training.
        data: what it learned from; none where no held-out samples were given.
    """

    version: Literal[1] = 1
    watched: bool
    steps: NonNegativeInt
    layers: tuple[Layer, ...]
    trajectory: Trajectory | None
    data: DataTraits | None

    @model_validator(mode="after")
    def _check_watched(self) -> Self:
        blocks = [self.trajectory, *(layer.drift for layer in self.layers)]
        if any((block is not None) != self.watched for block in blocks):
            raise ValueError("trajectory and drift are there if the training was watched, only")
        if len(self.by_weight) < len(self.layers):
            raise ValueError("two layers have one weight")
        return self

    @cached_property
    def by_weight(self) -> dict[str, Layer]:
        """`{name of the weight: layer}`."""
        return {layer.weight: layer for layer in self.layers}


def scalars(
    layers: Sequence[Layer], trajectory: Trajectory | None, data: DataTraits | None
) -> Iterator[tuple[str, float]]:
    """Yield `block/name/weight`, or `block/name` for the whole run, with the value there."""
    for layer in layers:
        for kind in indicators.LAYER_BLOCKS:
            block: _Block | None = getattr(layer, kind)
            for name, value in block.values() if block else ():
                yield f"{kind}/{name}/{layer.weight}", value
    runs: tuple[_Block | None, ...] = (trajectory, data)
    for run in filter(None, runs):
        for name, value in run.values():
            yield f"{run.block}/{name}", value
