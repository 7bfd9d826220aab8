"""Scores after the repair by least squares that every pruned network gets, on fewer samples."""

from __future__ import annotations

from rlprune.evaluate.least_squares import LeastSquares
from rlprune.evaluate.search_score.base import Scene

SAMPLES = 128
"""Of the train split."""

ROWS = 1024
"""An eighth of what the final network is fitted to, as the samples are; plans rank alike."""


def repair(scene: Scene) -> LeastSquares:
    """Return what refits the weights of any plan's network.

    Raises:
        ValueError: without training samples.
    """
    if scene.training is None:
        raise ValueError("least squares need samples of the train split")
    return LeastSquares(scene.model, scene.training[0], ROWS)
