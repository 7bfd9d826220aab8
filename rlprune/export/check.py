"""How far an exported file is from the torch model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rlprune.errors import ExportError

TOLERANCE = 1e-4
"""Largest difference that passes, relative to the largest value of an output."""


@dataclass(frozen=True)
class Difference:
    """Largest difference over all outputs at one batch size.

    Attributes:
        absolute: in the outputs' own unit.
        relative: to the largest absolute value of the same output.
    """

    absolute: float
    relative: float


@dataclass(frozen=True)
class ExportCheck:
    """What was written, and how it compared with the torch model.

    Attributes:
        file: the exported model.
        bytes: its size, with the weights that very large ONNX models keep in a second file.
        differences: per batch size that was tried.
        batch_fixed_by: why the file takes one batch size only; None when it takes any.
    """

    file: Path
    bytes: int
    differences: dict[int, Difference]
    batch_fixed_by: str | None

    @property
    def dynamic_batch(self) -> bool:
        """Whether the file takes batches of any size."""
        return self.batch_fixed_by is None


def compare(exported: Sequence[Tensor], expected: Sequence[Tensor]) -> Difference:
    """Compare all output tensors, in the order in which the model returns them.

    Raises:
        ExportError: if their number or a shape differs.
    """
    shapes = [[tuple(tensor.shape) for tensor in side] for side in (exported, expected)]
    if shapes[0] != shapes[1]:
        raise ExportError(f"the exported model returns shapes {shapes[0]}, torch {shapes[1]}")
    pairs = [_difference(*pair) for pair in zip(exported, expected, strict=True)]
    worst = torch.tensor(pairs, dtype=torch.float64).amax(0)  # NaN stays NaN, unlike with max()
    return Difference(*worst.tolist())


def _difference(exported: Tensor, expected: Tensor) -> tuple[float, float]:
    if expected.numel() == 0:
        return 0.0, 0.0
    ours, theirs = exported.double(), expected.double()
    # Equal infinities, as in masked logits, differ by nothing.
    absolute = float(torch.where(ours == theirs, 0.0, (ours - theirs).abs()).amax())
    largest = float(torch.nan_to_num(theirs.abs(), nan=0.0, posinf=0.0).amax())
    if largest == 0:
        return absolute, 0.0 if absolute == 0 else math.inf
    return absolute, absolute / largest
