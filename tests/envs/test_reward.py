"""The reward in numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlprune.config import RewardSettings
from rlprune.envs.reward import reward
from rlprune.problem import Problem

ALL = RewardSettings(quality=1.0, macs=0.5, latency=0.25, clip=50.0)


def test_terms_are_weighted_logs_of_ratios_to_the_heuristic(plain: Problem) -> None:
    base = plain.reference.measurement
    tiny = plain.sensitivity.negligible
    better = replace(base, score=(base.score + tiny) / 2 - tiny, macs=base.macs // 2)
    paid = reward(plain, better, ALL)
    assert paid.terms["quality"] == pytest.approx(math.log(2))
    assert paid.terms["macs"] == pytest.approx(0.5 * math.log(2), rel=1e-3)
    assert paid.terms["latency"] == 0
    assert paid.total == pytest.approx(1.5 * math.log(2), rel=1e-3)


def test_the_heuristic_itself_is_paid_nothing(plain: Problem) -> None:
    assert reward(plain, plain.reference.measurement, ALL).total == 0


@given(scores=st.tuples(st.floats(0, 10), st.floats(0, 10)))
def test_a_better_score_is_never_paid_less(plain: Problem, scores: tuple[float, float]) -> None:
    low, high = sorted(scores)
    base = plain.reference.measurement
    better, worse = (reward(plain, replace(base, score=s), RewardSettings()) for s in (low, high))
    assert better.total >= worse.total


@given(
    score=st.floats(0, 1e6) | st.just(float("inf")),
    macs=st.integers(1, 10**9),
    latency=st.none() | st.floats(1e-3, 1e3),
)
def test_the_total_is_the_clipped_sum_of_its_terms(
    plain: Problem, score: float, macs: int, latency: float | None
) -> None:
    settings = RewardSettings()
    measured = replace(plain.reference.measurement, score=score, macs=macs, latency_kept=latency)
    paid = reward(plain, measured, settings)
    assert set(paid.terms) == {"quality", "macs", "latency"}
    assert all(math.isfinite(term) for term in paid.terms.values())
    clipped = max(-settings.clip, min(settings.clip, sum(paid.terms.values())))
    assert paid.total == pytest.approx(clipped)


def test_a_broken_network_is_paid_the_least(plain: Problem) -> None:
    broken = replace(plain.reference.measurement, score=float("inf"))
    assert reward(plain, broken, RewardSettings()).total == -RewardSettings().clip
