"""Exact MACs and parameter counts as functions of the group widths, without touching a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Widths = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Term:
    """One product `coefficient * prod(sizes)` where every size is affine in the group widths.

    Attributes:
        coefficient: what one element of the tensor costs (1 for parameters, output positions for
            MACs) times the sizes that never change.
        sizes: for each tensor dimension that pruning changes, `(constant, per-group slope)`.
    """

    coefficient: float
    sizes: tuple[tuple[float, dict[int, float]], ...]


class AnalyticCost:
    """A sum of terms, evaluated for many width vectors at once."""

    def __init__(self, terms: Sequence[Term], n_groups: int) -> None:
        depth = max((len(term.sizes) for term in terms), default=0)
        self._coefficients = np.array([term.coefficient for term in terms], dtype=np.float64)
        self._constants = np.ones((depth, len(terms)))
        self._slopes = np.zeros((depth, len(terms), n_groups))
        for t, term in enumerate(terms):
            for d, (constant, slopes) in enumerate(term.sizes):
                self._constants[d, t] = constant
                for group, slope in slopes.items():
                    self._slopes[d, t, group] = slope
        # Most groups matter to few terms; a dense product would also start the threads of a BLAS.
        self._flat = csr_array(self._slopes.reshape(depth * len(terms), n_groups))
        self._terms, self._groups = np.nonzero(self._slopes.any(axis=0))
        self._pairs = self._slopes[:, self._terms, self._groups]

    def __call__(self, widths: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the cost of each width vector; shape `(..., n_groups)` -> `(...)`."""
        w = np.asarray(widths, dtype=np.float64)
        vectors = w.reshape(prod(w.shape[:-1]), w.shape[-1])
        sizes = (self._flat @ vectors.T).reshape(*self._constants.shape, len(vectors))
        products = (self._constants[:, :, None] + sizes).prod(axis=0)
        summed = (self._coefficients[:, None] * products).sum(axis=0).reshape(w.shape[:-1])
        return np.asarray(np.rint(summed), dtype=np.int64)

    def each_changed(self, widths: Widths, changed: Widths) -> npt.NDArray[np.int64]:
        """Return the cost with one width changed at a time; `(groups,)` twice -> `(groups,)`.

        The same as evaluating a matrix of width vectors, but only where a group matters.
        """
        sizes = self._constants + self._slopes @ np.asarray(widths, dtype=np.float64)
        products = self._coefficients * sizes.prod(axis=0)
        new = sizes[:, self._terms] + self._pairs * (changed - widths)[self._groups]
        change = self._coefficients[self._terms] * new.prod(axis=0) - products[self._terms]
        per_group = np.bincount(self._groups, change, len(widths))
        return np.asarray(np.rint(products.sum() + per_group), dtype=np.int64)
