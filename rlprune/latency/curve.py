"""From predicted to measured ratios: a monotone curve through anchors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression


class Curve:
    """Piecewise linear and never falling, from (0, 0) to (1, 1).

    Args:
        predicted: predicted kept latency of the anchors; shape `(anchors,)`.
        measured: measured kept latency of the same; the best never-falling fit is taken where noise
            has swapped anchors, and 1 where one was slower than the dense network.
    """

    def __init__(self, predicted: npt.ArrayLike, measured: npt.ArrayLike) -> None:
        x, group = np.unique(np.asarray(predicted, dtype=np.float64), return_inverse=True)
        count = np.bincount(group, minlength=len(x))
        y = np.bincount(group, np.asarray(measured, dtype=np.float64), len(x)) / count
        inside = (x > 0.0) & (x < 1.0)
        x, y, count = x[inside], y[inside], count[inside]
        if len(x):
            y = np.clip(isotonic_regression(y, weights=count).x, 0.0, 1.0)
        self._x = np.array([0.0, *x, 1.0])
        self._y = np.array([0.0, *y, 1.0])

    def __call__(self, predicted: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the calibrated ratio of every predicted one."""
        return np.asarray(np.interp(np.asarray(predicted), self._x, self._y))
