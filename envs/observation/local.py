"""What was measured around the heuristic's plan: what says best what is worth changing."""

from __future__ import annotations

import numpy as np

from rlprune.allocate.local import STEP
from rlprune.envs.observation.feature import Column, Feature, nats
from rlprune.problem import Problem

_FLATTEST = 0.05  # curvature; what is measured below is noise

LOCAL: tuple[Feature, ...] = (
    nats("slope", "gain in log score from a wider share at the heuristic's plan, per log-ratio"),
    nats("curvature", "log of how fast that gain falls, per log-ratio, as the share grows"),
    Feature("ascent", "slope over curvature, the step that gains most", "action", -1, 1),
    nats("change", "log of the score with the block changed at the heuristic's plan, over its own"),
)
"""0 for groups of the other kind; groups that were not changed look flat: the least curvature."""


def local(problem: Problem) -> list[Column]:
    """Return a column for each of `LOCAL`."""
    is_block = problem.graph.is_block
    narrower, wider = problem.local_changes
    slope = np.where(is_block, 0.0, (narrower - wider) / (2 * STEP))
    curvature = np.maximum((narrower + wider) / STEP**2, _FLATTEST)
    return [
        slope,
        np.where(is_block, 0.0, np.log(curvature)),
        slope / curvature,
        np.where(is_block, wider, 0.0),
    ]
