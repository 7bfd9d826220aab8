"""One function for each family: it draws an architecture whose widths are still to be scaled."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rlprune.pool.specs import (
    DenseSpec,
    DepthwiseSpec,
    Kernel,
    MLPSpec,
    PlainSpec,
    ResidualSpec,
    SampledSpec,
    Stride,
    VGGSpec,
)

Draw = Callable[[float], SampledSpec]
"""Gives the architecture with its widths scaled by a factor of 1 or more."""

_NARROWEST, _WIDEST, _MULTIPLE = 12, 256, 4  # budgets of a tenth need room above the floors
_SMALLEST_MAP = 2


def _plain(rng: np.random.Generator, size: int) -> Draw:
    halvings = int(rng.integers(1, _halvings(size) + 1))
    counts = _counts(rng, halvings + 1, 6)
    widths = [16 * 2 ** rng.uniform(0, 1 + stage, n) for stage, n in enumerate(counts)]
    kernels = tuple(_kernel(rng) for _ in counts)
    is_strided = bool(rng.random() < 0.5)

    def draw(scale: float) -> PlainSpec:
        stages = tuple(tuple(_width(w, scale) for w in stage) for stage in widths)
        return PlainSpec(stages=stages, kernels=kernels, is_strided=is_strided)

    return draw


def _vgg(rng: np.random.Generator, size: int) -> Draw:
    stages = int(rng.integers(2, _halvings(size) + 2))
    counts = _counts(rng, stages, 6)
    bases = _growing(rng, stages, 16)
    kernels = tuple(_kernel(rng) for _ in counts)
    hidden = 32 * 2 ** rng.uniform(0, 2)

    def draw(scale: float) -> VGGSpec:
        return VGGSpec(
            convolutions=counts,
            widths=tuple(_width(base, scale) for base in bases),
            kernels=kernels,
            hidden=_width(hidden, scale),
        )

    return draw


def _residual(rng: np.random.Generator, size: int) -> Draw:
    stages = int(rng.integers(2, 5))
    is_bottleneck = bool(rng.random() < 0.35)
    blocks = _counts(rng, stages, 4 if is_bottleneck else 6)
    bases = _growing(rng, stages, 48 if is_bottleneck else 16)
    narrowing = rng.uniform(2, 4)
    strides, kernel = _strides(rng, stages, size), _kernel(rng)

    def draw(scale: float) -> ResidualSpec:
        inner = tuple(_width(base / narrowing, scale) for base in bases)
        return ResidualSpec(
            blocks=blocks,
            widths=tuple(_width(base, scale) for base in bases),
            strides=strides,
            kernel=kernel,
            inner=inner if is_bottleneck else None,
        )

    return draw


def _dense(rng: np.random.Generator, size: int) -> Draw:
    blocks = int(rng.integers(2, _halvings(size) + 2))
    layers = tuple(sorted(_counts(rng, blocks, 6)))  # the first block's are the dearest
    growth, is_squeezed = rng.uniform(12, 16), bool(rng.random() < 0.5)
    kernel, transition_kept = _kernel(rng), round(float(rng.uniform(0.5, 1)), 2)

    def draw(scale: float) -> DenseSpec:
        grown = _width(growth, scale)
        return DenseSpec(
            stem=2 * grown,
            growth=grown,
            layers=layers,
            kernel=kernel,
            squeezed=2 * grown if is_squeezed else 0,
            transition_kept=transition_kept,
        )

    return draw


def _depthwise(rng: np.random.Generator, size: int) -> Draw:
    stages = int(rng.integers(2, 5))
    bases = _growing(rng, stages, 16)
    blocks = _counts(rng, stages, 4)
    expansions = tuple(map(int, rng.integers(1, 7, stages)))
    strides, kernel = _strides(rng, stages, size), _kernel(rng)
    last, has_shortcuts = rng.uniform(2, 4), bool(rng.random() < 0.75)

    def draw(scale: float) -> DepthwiseSpec:
        widths = [_width(base, scale) for base in bases]
        return DepthwiseSpec(
            stages=tuple(zip(expansions, widths, blocks, strides, strict=True)),
            stem=widths[0],
            last=_width(bases[-1] * last, scale),
            kernel=kernel,
            has_shortcuts=has_shortcuts,
        )

    return draw


def _mlp(rng: np.random.Generator, size: int) -> Draw:
    bases = 32 * 2 ** rng.uniform(0, 1.5, int(rng.integers(2, 7)))

    def draw(scale: float) -> MLPSpec:
        return MLPSpec(hidden=tuple(_width(base, scale) for base in bases))

    return draw


DRAWS: dict[str, Callable[[np.random.Generator, int], Draw]] = {
    "plain": _plain,
    "vgg": _vgg,
    "residual": _residual,
    "dense": _dense,
    "depthwise": _depthwise,
    "mlp": _mlp,
}


def _halvings(size: int) -> int:
    """Return how often an image can be halved, at least once and at most four times."""
    return min(4, max(1, int(math.log2(size / _SMALLEST_MAP))))


def _counts(rng: np.random.Generator, stages: int, most: int) -> tuple[int, ...]:
    """Return layers or blocks of each stage: shallow networks are as common as deep ones."""
    upper = int(rng.integers(1, most + 1))
    return tuple(map(int, rng.integers(max(1, upper - 2), upper + 1, stages)))


def _strides(rng: np.random.Generator, stages: int, size: int) -> tuple[Stride, ...]:
    """Choose the stages that halve the image, never the first."""
    most = min(stages - 1, _halvings(size))
    halving = rng.choice(np.arange(1, stages), int(rng.integers(1, most + 1)), replace=False)
    return tuple(2 if stage in halving else 1 for stage in range(stages))


def _kernel(rng: np.random.Generator) -> Kernel:
    return 5 if rng.random() < 0.25 else 3


def _growing(rng: np.random.Generator, stages: int, first: int) -> list[float]:
    """Return widths that grow from stage to stage by factors around 1.5."""
    factors = rng.uniform(1, 2, stages - 1)
    return [float(base) for base in first * np.cumprod([1.0, *factors])]


def _width(base: float, scale: float) -> int:
    rounded = _MULTIPLE * round(base * scale / _MULTIPLE)
    return min(_WIDEST, max(_NARROWEST, rounded))
