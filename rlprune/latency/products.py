"""Products of sizes, each affine in the widths and possibly rounded up, for many width vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rlprune.graph.group_graph import Size

Factor = tuple[Size, int]
"""A size, and the multiple that it is rounded up to."""

Product = tuple[Factor, ...]

_SLACK = 6  # decimals: a slope such as 1/3 gives 8.000000000000002


class Products:
    """Many products, every factor of which is 1 at the dense widths and smaller below.

    Args:
        products: to evaluate; one without factors is 1.
        dense: widths of the dense network; shape `(groups,)`.

    Attributes:
        groups: length of a width vector.
    """

    def __init__(self, products: Sequence[Product], dense: npt.ArrayLike) -> None:
        widths = np.asarray(dense, dtype=np.float64)
        self.groups = len(widths)
        columns: dict[tuple[float, tuple[tuple[int, float], ...], int], int] = {}
        rows = []
        for product in products:
            keys = [(s.constant, tuple(sorted(s.slopes.items())), m) for s, m in product]
            rows.append([columns.setdefault(key, len(columns)) for key in keys])
        depth = max((len(row) for row in rows), default=0)
        # Products with fewer factors are filled up with the last column, which is 1.
        self._index = np.array([[*r, *[len(columns)] * (depth - len(r))] for r in rows], dtype=int)
        self._index = self._index.reshape(len(rows), depth)
        self._constants = np.array([constant for constant, _, _ in columns])
        self._multiples = np.array([multiple for _, _, multiple in columns])
        self._slopes = np.zeros((len(columns), len(widths)))
        for row, (_, slopes, _) in enumerate(columns):
            for group, slope in slopes:
                self._slopes[row, group] = slope
        self._dense = self._sizes(widths)

    def __call__(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return every product at every width vector; `(..., groups)` -> `(..., products)`."""
        w = np.asarray(widths, dtype=np.float64)
        factors = self._sizes(w) / self._dense
        one = np.ones((*w.shape[:-1], 1))
        factors = np.concatenate([factors, one], axis=-1)
        return np.asarray(factors[..., self._index].prod(axis=-1))

    def _sizes(self, widths: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        sizes = self._constants + widths @ self._slopes.T
        steps = np.ceil(np.round(sizes / self._multiples, _SLACK))
        return np.where(self._multiples > 1, steps * self._multiples, sizes)
