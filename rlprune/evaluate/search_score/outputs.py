"""Scores that look at nothing but outputs."""

from __future__ import annotations

from functools import partial

from rlprune.evaluate.search_score.base import Candidate, Loss, Scene
from rlprune.evaluate.tasks import Reconstruction


def divergence(scene: Scene) -> Loss:
    """Score by the distance to the dense network's outputs: KL in nats, or MSE."""
    return _divergence


def error(scene: Scene) -> Loss:
    """Score by the share of wrong predictions, half a sample at least; by MSE / peak^2 of PSNR."""
    if scene.task.name == Reconstruction.name:
        return _relative_error
    return partial(_wrong, least=0.5 / len(scene.targets))


def _divergence(candidate: Candidate) -> float:
    return candidate.divergence


def _wrong(candidate: Candidate, least: float) -> float:
    return max(1.0 - candidate.quality, least)


def _relative_error(candidate: Candidate) -> float:
    return float(10 ** (-candidate.quality / 10))
