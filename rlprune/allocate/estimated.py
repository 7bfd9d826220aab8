"""Sensitivity curves from one measurement for each group instead of six.

The height is measured, with the group cut to half; the shape is that of the reconstruction errors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rlprune.allocate.curves import Losses, curve_cuts, interpolated
from rlprune.allocate.profiles import width_at
from rlprune.allocate.sensitivity import Sensitivity
from rlprune.graph.group_graph import GroupGraph

# Errors this small are rounding; a share of the variance that layers compute.
_NEGLIGIBLE = 1e-3


def estimated_curves(
    graph: GroupGraph, sensitivity: Sensitivity, errors: npt.NDArray[np.float64]
) -> Losses:
    """Return the loss of every group alone at every width.

    That the divergence grows like the squared error that readers of a group are left with is what a
    second-order expansion says; how fast is taken from the one measurement.

    Args:
        graph: dependency groups.
        sensitivity: losses of each group cut to half, or of each block removed.
        errors: reconstruction errors of `curve_cuts`.
    """
    cuts, heights = curve_cuts(graph), sensitivity.relative * sensitivity.mean
    halves = errors_at_half(graph, errors)
    losses = [0.0]
    for (g, _), error in zip(cuts[1:], errors[1:], strict=True):
        share = 1.0 if graph.is_block[g] else _ratio(error, halves[g])
        losses.append(float(heights[g]) * share)
    return interpolated(graph, cuts, np.array(losses))


def errors_at_half(graph: GroupGraph, errors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the reconstruction error of each group cut to half; 0 where that is no cut.

    Args:
        graph: dependency groups.
        errors: of `curve_cuts`.
    """
    error_of = dict(zip(curve_cuts(graph), errors, strict=True))
    groups = range(len(graph.groups))
    return np.array([error_of.get((g, width_at(graph, g, 0.5)), 0.0) for g in groups])


def _ratio(error: float, half: float) -> float:
    return (error + _NEGLIGIBLE) / (half + _NEGLIGIBLE)
