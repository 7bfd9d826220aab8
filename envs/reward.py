"""The terminal reward: how much better a plan is than the heuristic's, term by term."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rlprune.config import RewardSettings
from rlprune.evaluate.evaluator import Measurement
from rlprune.problem import Problem


@dataclass(frozen=True)
class Reward:
    """Sum of weighted terms, clipped.

    Attributes:
        total: what the environment pays, in [-clip, clip].
        terms: weighted terms before clipping, `{quality, macs, latency}`.
    """

    total: float
    terms: Mapping[str, float]


def reward(problem: Problem, measured: Measurement, settings: RewardSettings) -> Reward:
    """Compare a measurement with the heuristic's on the same network and budget.

    With `h` the heuristic and `S` the search score as a loss:
    `quality * log(S_h / S) + macs * log(macs_h / macs) + latency * log(latency_h / latency)`.
    Logarithms of ratios weigh gentle and brutal budgets, small and large networks, the same.
    """
    base = problem.reference.measurement
    negligible = problem.sensitivity.negligible
    terms = {
        "quality": settings.quality
        * math.log((base.score + negligible) / (measured.score + negligible))
        if math.isfinite(measured.score)
        else -settings.clip,
        "macs": settings.macs * math.log(base.macs / measured.macs),
        "latency": 0.0,
    }
    if settings.latency and base.latency_kept is not None and measured.latency_kept is not None:
        terms["latency"] = settings.latency * math.log(base.latency_kept / measured.latency_kept)
    total = min(max(sum(terms.values()), -settings.clip), settings.clip)
    return Reward(total, terms)
