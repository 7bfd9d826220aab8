"""Sensitivity curves: the search score with one group alone cut to each of its widths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from rlprune.allocate.profiles import Cut, profile_cuts, width_at
from rlprune.cache.store import Store
from rlprune.evaluate.evaluator import Evaluator
from rlprune.graph.group_graph import GroupGraph

KEPT: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Fractions at which a group of channels is measured, rounded to atoms; 0 stands for its floor."""

Losses = npt.NDArray[np.float64]
"""Loss of every group alone at every width from 0 up; `(groups, largest width + 1)`, >= 0.

No loss falls as a width does. Widths below the floor are as bad as the floor, and those above the
dense width cost nothing.
"""


def profile_curves(evaluator: Evaluator, store: Store) -> Losses:
    """Measure the curves of all groups, or look them up.

    At most six profile evaluations for each group of channels, one for a block, which is either
    there or not, and one for the dense network.
    """
    cuts = curve_cuts(evaluator.graph)
    scores = profile_cuts(evaluator, store, cuts)
    return interpolated(evaluator.graph, cuts, scores)


def curve_cuts(graph: GroupGraph) -> list[Cut]:
    """Return no cut at all, then every group with the widths that it is measured at."""
    return [(0, graph.groups[0].width)] + [
        (g, width)
        for g, group in enumerate(graph.groups)
        for width in sorted({width_at(graph, g, kept) for kept in KEPT} - {group.width})
    ]


def interpolated(graph: GroupGraph, cuts: Sequence[Cut], scores: npt.NDArray[np.float64]) -> Losses:
    """Return by how much a score exceeds the first one, that of no cut, at every width.

    A score that falls as more is removed is noise, so the worst of all larger widths counts. What
    lies between is a monotone cubic spline: on straight lines a sum of losses has its minima at the
    measured widths only.
    """
    excess = np.maximum(scores - scores[0], 0.0)
    losses = np.zeros((len(graph.groups), int(graph.widths.max()) + 1))
    for g, group in enumerate(graph.groups):
        found = {group.width: 0.0}
        found |= {w: float(s) for (one, w), s in zip(cuts, excess, strict=True) if one == g}
        if len(found) == 1:
            continue
        widths = sorted(found)
        worst = np.maximum.accumulate([found[w] for w in reversed(widths)])[::-1]
        between = np.arange(widths[0], group.width + 1)
        losses[g, between] = np.maximum(PchipInterpolator(widths, worst)(between), 0.0)
        losses[g, : widths[0]] = worst[0]
    return losses
