"""Scores from sensitivity curves: thousands of plans a second, as if layers did not interact."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rlprune.evaluate.scoring import Score
from rlprune.surgery.plan import Plan


class CurveScorer:
    """Adds up what each group costs alone; nothing is run.

    Args:
        losses: of every group alone at every width; `(groups, largest width + 1)`.
    """

    lanes = 1

    def __init__(self, losses: npt.NDArray[np.float64]) -> None:
        self._losses = losses
        self._rows = np.arange(len(losses))

    def score(self, plans: Sequence[Plan], at_most: float = math.inf) -> list[Score]:
        """Return the sum of losses of each plan; their quality is not known, and 0."""
        return [Score(float(self._losses[self._rows, plan.widths].sum()), 0.0) for plan in plans]
