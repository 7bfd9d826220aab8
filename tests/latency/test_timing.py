"""Calls are timed side by side; the clock is a fake one throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, cycle

import pytest

from rlprune.config import LatencySettings
from rlprune.latency.timing import (
    LEAST_ROUNDS,
    MOST_EXTENSIONS,
    Stopwatch,
    compare,
    measure_interleaved,
    median_interval,
    ratio,
    summarise,
)
from tests.latency.fake_clock import SETTINGS, FakeClock


def taking(clock: FakeClock, ms: Iterator[float]) -> Callable[[], None]:
    return lambda: clock.charge(next(ms) / 1e3)


def test_rounds_are_interleaved_and_reversed_every_other_time() -> None:
    clock, log = FakeClock(), []

    def called(name: str) -> Callable[[], None]:
        return lambda: (log.append(name), clock.charge(1.0))

    samples = measure_interleaved({n: called(n) for n in ("one", "two")}, SETTINGS, clock)
    assert samples == {"one": [1000.0] * 3, "two": [1000.0] * 3}
    order = [name for i, name in enumerate(log) if i == 0 or log[i - 1] != name]
    assert order == ["one", "two", "one", "two", "one", "two"][: len(order)]
    assert log[-12:] == ["one"] * 2 + ["two"] * 4 + ["one"] * 4 + ["two"] * 2


def test_short_calls_are_repeated_to_fill_a_round() -> None:
    clock = FakeClock()
    calls = count()

    def call() -> None:
        next(calls)
        clock.charge(0.001)

    watch = Stopwatch({"one": call}, LatencySettings(round_ms=5.0), clock)
    before = next(calls)
    watch.run(1)
    assert next(calls) - before - 1 == 1 + 5
    assert watch.samples == {"one": [pytest.approx(1.0)]}


def test_the_first_call_after_another_network_does_not_count() -> None:
    clock = FakeClock()
    samples = measure_interleaved({"one": taking(clock, cycle([9.0, 2.0]))}, SETTINGS, clock)
    assert samples["one"] == pytest.approx([2.0, 2.0, 2.0])


def test_a_network_is_as_fast_as_itself() -> None:
    clock = FakeClock()
    found = compare(*(taking(clock, cycle([3.0])) for _ in range(2)), SETTINGS, clock)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert (found.self_ratio, found.rounds, found.noisy) == (
        pytest.approx(1.0),
        LEAST_ROUNDS,
        False,
    )


def test_a_steady_drift_does_not_change_a_ratio() -> None:
    clock = FakeClock()

    def call(cost: float) -> Callable[[], None]:
        return lambda: clock.charge(cost * (1.0 + clock.seconds / 10.0))

    found = compare(call(0.02), call(0.04), SETTINGS, clock)
    assert found.value == pytest.approx(0.5, abs=0.01)
    assert found.self_ratio == pytest.approx(1.0, abs=0.03)
    assert not found.noisy


def test_rounds_are_added_until_the_dense_network_looks_like_itself() -> None:
    clock, turns = FakeClock(), count()

    def dense() -> None:
        turn = next(turns) // 2  # every turn is one call to settle and one that counts
        disturbed = turn < 24 and turn % 4 in (1, 2)
        clock.charge(0.002 if disturbed else 0.001)

    found = compare(taking(clock, cycle([0.5])), dense, SETTINGS, clock)
    assert found.rounds > LEAST_ROUNDS
    assert not found.noisy
    assert found.value == pytest.approx(0.5, abs=0.2)


def test_rounds_are_added_until_the_interval_is_narrow() -> None:
    clock = FakeClock()
    # Calls that settle alternate with calls that count: now and then one of them takes longer.
    candidate = taking(clock, cycle([1.0] * 15 + [1.5]))
    found = compare(candidate, taking(clock, cycle([1.0])), SETTINGS, clock)
    assert found.rounds > LEAST_ROUNDS
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


def test_a_machine_that_stays_noisy_is_called_so_and_widens_the_interval() -> None:
    clock, turns = FakeClock(), count()

    def dense() -> None:
        # Warm-up is four turns of two calls for both; then dense, again, again, dense...
        turn = next(turns) // 2 - 4
        again = turn % 4 in (1, 2)
        clock.charge(0.0012 if again else 0.001)

    found = compare(taking(clock, cycle([0.55])), dense, SETTINGS, clock)
    assert found.noisy
    assert found.rounds == LEAST_ROUNDS * MOST_EXTENSIONS
    assert found.self_ratio == pytest.approx(1.2)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.4, 0.6))


def test_the_interval_of_a_median_is_between_order_statistics() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval(range(1, 7)) == (1.0, 6.0)
    assert median_interval(range(1, 21)) == (6.0, 15.0)


def test_a_ratio_compares_rounds_pairwise_and_takes_the_median() -> None:
    assert ratio([1.0, 20.0, 3.0], [2.0, 10.0, 4.0]) == pytest.approx(0.75)


def test_a_summary_is_median_and_ninetieth_percentile() -> None:
    summary = summarise([float(i) for i in range(1, 12)])
    assert (summary.median_ms, summary.p90_ms) == (6.0, 10.0)
