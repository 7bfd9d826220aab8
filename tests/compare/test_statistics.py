"""Statistics against scipy and against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlprune.compare.statistics import (
    estimate,
    hypervolume,
    pareto,
    rank_correlation,
    top_regret,
)

unit = st.integers(0, 20).map(lambda i: i / 20)
points = st.lists(st.tuples(unit, unit), min_size=1, max_size=8)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9))
def test_an_interval_is_that_of_the_t_distribution(values: list[float]) -> None:
    found = estimate(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert found.low is not None
    assert found.high is not None
    if found.sd > 1e-6:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_a_single_value_has_no_interval() -> None:
    found = estimate([3.0])
    assert (found.mean, found.sd, found.low, found.high) == (3.0, None, None, None)


@given(points)
def test_a_front_holds_exactly_what_nothing_beats(some: list[tuple[float, float]]) -> None:
    front = set(pareto(some))
    for i, (cost, value) in enumerate(some):
        beaten = any((c < cost and v >= value) or (c <= cost and v > value) for c, v in some)
        assert (i in front) != beaten


@given(points)
def test_hypervolume_is_the_area_below_the_points(some: list[tuple[float, float]]) -> None:
    grid = (np.arange(200) + 0.5) / 200  # cell centres; corners of points lie on cell borders
    costs, values = np.meshgrid(grid, grid)
    below = np.zeros_like(costs, dtype=bool)
    for cost, value in some:
        below |= (costs >= cost) & (values <= value)
    assert hypervolume(some) == pytest.approx(below.mean(), abs=1e-9)


def test_points_outside_the_reference_add_nothing() -> None:
    assert hypervolume([(1.2, 0.9), (0.5, -1.0)]) == 0.0
    assert hypervolume([(0.5, 0.8), (1.2, 0.9)]) == pytest.approx(0.4)


def test_a_perfect_proxy_correlates_fully_and_regrets_nothing() -> None:
    losses, values = [0.3, 0.1, 0.2], [0.7, 0.9, 0.8]
    assert rank_correlation(losses, values) == pytest.approx(1.0)
    assert rank_correlation(losses, [-value for value in values]) == pytest.approx(-1.0)
    assert top_regret(losses, values, 1) == 0.0


def test_regret_is_what_the_best_of_the_chosen_lacks() -> None:
    losses, values = [0.1, 0.2, 0.3], [0.5, 0.8, 0.9]
    assert [top_regret(losses, values, k) for k in (1, 2, 3)] == pytest.approx([0.4, 0.1, 0.0])


@pytest.mark.parametrize("values", [[0.5, 0.5, 0.5], [0.4, 0.5], [0.4]])
def test_too_few_different_networks_have_no_rank(values: list[float]) -> None:
    assert rank_correlation([float(i) for i in range(len(values))], values) is None
