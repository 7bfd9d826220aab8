"""Scores after the repair by least squares that every pruned network gets, on fewer samples."""

from __future__ import annotations

from rlprune.calling import take
from rlprune.evaluate.batches import FEWEST_SCORED, MOST_SCORED, affordable
from rlprune.evaluate.least_squares import LeastSquares
from rlprune.evaluate.search_score.base import Scene

SAMPLES = 128
"""Of the train split; fewer for costly networks, as fewer samples score their plans."""

ROWS = 1024
"""An eighth of what the final network is fitted to, as the samples are; plans rank alike."""

_FEWEST_ROWS = 256


def repair(scene: Scene) -> LeastSquares:
    """Return what refits the weights of any plan's network.

    Raises:
        ValueError: without training samples.
    """
    if scene.training is None:
        raise ValueError("least squares need samples of the train split")
    share = affordable(scene.graph.macs()) / MOST_SCORED
    samples = max(FEWEST_SCORED, round(share * SAMPLES))
    rows = max(_FEWEST_ROWS, round(share * ROWS))
    return LeastSquares(scene.model, take(scene.training[0], slice(samples)), rows)
