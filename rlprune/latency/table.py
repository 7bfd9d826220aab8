"""A table of measured layer times that predicts the latency of any widths of one network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import PositiveFloat, PositiveInt, ValidationError
from scipy.optimize import nnls

from rlprune.errors import LatencyError, first_line
from rlprune.graph.group_graph import Frozen
from rlprune.latency.curve import Curve
from rlprune.latency.products import Products
from rlprune.latency.segments import Segment

VERSION = 1

_MEASURE_AGAIN = "remove it, and it is measured again"


class Point(Frozen):
    """The measured segments of one plan.

    Attributes:
        widths: kept channels per group.
        ms: milliseconds of every segment that ran.
    """

    widths: tuple[int, ...]
    ms: dict[str, float]


class Anchor(Frozen):
    """One plan, measured end to end beside the dense network.

    Attributes:
        widths: kept channels per group.
        kept: latency / dense latency.
    """

    widths: tuple[int, ...]
    kept: PositiveFloat


class Coefficients:
    """Milliseconds of a network as a sum of products of sizes, none of them negative."""

    def __init__(
        self,
        segments: Sequence[Segment],
        points: Sequence[Point],
        dense: Sequence[int],
        multiple: int,
    ) -> None:
        kept, self._ms = [], []
        for segment in segments:
            products = segment.products(multiple)
            fitted = _fit(Products(products, dense), segment.module, points)
            for one, ms in zip(products, fitted, strict=True):
                if ms > 0.0:
                    kept.append(one)
                    self._ms.append(float(ms))
        self._products = Products(kept, dense)

    def __call__(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return milliseconds per forward pass; `(..., groups)` -> `(...)`."""
        return np.asarray(self._products(widths) @ np.array(self._ms), dtype=np.float64)


class OperatorTable(Frozen):
    """What was measured of one network on one device; the rest is predicted from it.

    Attributes:
        key: says for which device, network, input shape, batch size, threads and runtime.
        dense: widths of the dense network.
        multiple: channels that the device takes at once; sizes also count rounded up to it.
        segments: of a forward pass.
        points: plans whose segments were measured in context, the dense one among them.
        anchors: plans measured end to end, which the sum of the segments is calibrated with.
        passes: forward passes that were run to measure all this, in dense ones by their time.
        version: of this format.
    """

    key: str
    dense: tuple[int, ...]
    multiple: PositiveInt
    segments: tuple[Segment, ...]
    points: tuple[Point, ...]
    anchors: tuple[Anchor, ...]
    passes: float
    version: int = VERSION

    def kept(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return predicted latency / dense latency of width vectors; `(..., groups)` -> `(...)`.

        It is 1 at the dense widths and never rises when a group shrinks or a block goes.
        """
        return self._curve(self.predicted(widths))

    def predicted(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the same before it is calibrated end to end: the sum of segments / dense."""
        dense = float(self.ms(self.dense))
        ratios = self.ms(widths) / dense if dense else np.ones(np.shape(widths)[:-1])
        return np.asarray(np.minimum(ratios, 1.0))

    def ms(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return predicted milliseconds per PyTorch forward pass; `(..., groups)` -> `(...)`."""
        return self._coefficients(widths)

    def extended(
        self, points: Sequence[Point], anchors: Sequence[Anchor] = (), passes: float = 0.0
    ) -> Self:
        """Return a table that also knows more measured plans.

        Args:
            points: their segments.
            anchors: their latency end to end.
            passes: what measuring them took, in dense forward passes.
        """
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        fields["points"] += tuple(points)
        fields["anchors"] += tuple(anchors)
        fields["passes"] += passes
        return type(self)(**fields)  # not a copy, which would keep what was fitted to fewer plans

    def to_json(self) -> str:
        """Return all that was measured as JSON text."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str, key: str) -> Self:
        """Read a table.

        Args:
            text: written by `to_json`.
            key: of what is to be predicted.

        Raises:
            LatencyError: if the text is damaged, of another version or for another key.
        """
        try:
            document = json.loads(text)
        except ValueError as error:
            raise LatencyError(f"the latency table is no JSON; {_MEASURE_AGAIN}") from error
        found = document.get("version") if isinstance(document, dict) else None
        if found != VERSION:
            raise LatencyError(
                f"the latency table is of version {found}, and this rlprune reads version "
                f"{VERSION}; {_MEASURE_AGAIN}"
            )
        try:
            table = cls.model_validate(document)
        except ValidationError as error:
            reason = first_line(error)
            raise LatencyError(f"the latency table is damaged ({reason})") from error
        if table.key != key:
            raise LatencyError(
                f"the latency table was measured for {table.key!r}, and this is {key!r}; measure "
                "one here"
            )
        return table

    @cached_property
    def _coefficients(self) -> Coefficients:
        return Coefficients(self.segments, self.points, self.dense, self.multiple)

    @cached_property
    def _curve(self) -> Curve:
        anchors = np.array([a.widths for a in self.anchors]).reshape(-1, len(self.dense))
        return Curve(self.predicted(anchors), [a.kept for a in self.anchors])


def _fit(products: Products, module: str, points: Sequence[Point]) -> npt.NDArray[np.float64]:
    """Fit the time of one segment over the plans in which it ran.

    Residuals are weighted between absolute and relative error: small times count, but less.
    """
    ran = [point for point in points if module in point.ms]
    design = products([point.widths for point in ran] or np.empty((0, products.groups)))
    ms = np.array([point.ms[module] for point in ran])
    if not ms.any():
        return np.zeros(design.shape[-1])
    weights = 1.0 / np.sqrt(np.maximum(ms, 1e-3 * ms.mean()))
    fitted, _ = nnls(design * weights[:, None], ms * weights)
    return np.asarray(fitted)
