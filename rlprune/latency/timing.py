"""Timing calls side by side: interleaved rounds, medians, and how far to trust a ratio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from rlprune.config import LatencySettings
from rlprune.latency.clock import Clock
from rlprune.machine import keep_freed_memory

Call = Callable[[], object]
"""One forward pass, prepared by `rlprune.latency.runtime`."""

TOLERANCE = 0.03
"""How far from 1 the ratio of a network to itself may be."""

LEAST_ROUNDS = 6
"""Fewest rounds whose extremes contain the true median with a probability of 95 %."""

MOST_EXTENSIONS = 8
"""How many times the first rounds are run at most until a ratio is steady."""

_CONFIDENCE = 0.95
_WARM_UP = 2


@dataclass(frozen=True)
class Latency:
    """Milliseconds per forward pass of one batch, over interleaved rounds."""

    median_ms: float
    p90_ms: float


@dataclass(frozen=True)
class Ratio:
    """Latency of a candidate / latency of the dense network, timed in the same rounds.

    Attributes:
        value: kept latency; median over rounds.
        low: lower end of the 95 % interval of the median.
        high: its upper end.
        self_ratio: of the dense network, timed twice in every round, to itself.
        rounds: how many there were.
    """

    value: float
    low: float
    high: float
    self_ratio: float
    rounds: int

    @property
    def noisy(self) -> bool:
        """Whether even equal networks did not look equal; the interval is wider by as much."""
        return abs(self.self_ratio - 1.0) > TOLERANCE


class Stopwatch:
    """Times calls one after the other in every round, so that slow phases hit all alike.

    The order is reversed from round to round, so that a steady drift hits all alike too.

    Args:
        calls: by name; each is run a few times to warm up.
        settings: the least time per round.
        clock: to read.

    Attributes:
        samples: `{name: milliseconds per call, one entry per round}`.
    """

    def __init__(self, calls: Mapping[str, Call], settings: LatencySettings, clock: Clock) -> None:
        keep_freed_memory()
        self.samples: dict[str, list[float]] = {name: [] for name in calls}
        self._calls = dict(calls)
        self._clock = clock
        self._repeats = {name: self._fill(call, settings.round_ms) for name, call in calls.items()}
        self._rounds = 0

    def run(self, rounds: int) -> None:
        """Add rounds to the samples."""
        for _ in range(rounds):
            for name in list(self._calls)[:: -1 if self._rounds % 2 else 1]:
                repeats = self._repeats[name]
                self.samples[name].append(self._time(self._calls[name], repeats) / repeats)
            self._rounds += 1

    def _fill(self, call: Call, round_ms: float) -> int:
        """Warm up, and return how many calls take a round's least time."""
        once_ms = min(self._time(call, 1) for _ in range(_WARM_UP))
        return max(1, round(round_ms / max(once_ms, 1e-3)))

    def _time(self, call: Call, repeats: int) -> float:
        call()  # finds caches full of the previous network
        start = self._clock()
        for _ in range(repeats):
            call()
        return 1e3 * (self._clock() - start)


def measure_interleaved(
    calls: Mapping[str, Call], settings: LatencySettings, clock: Clock
) -> dict[str, list[float]]:
    """Time calls side by side.

    Args:
        calls: by name.
        settings: rounds and the least time per round; torch's own thread count is used.
        clock: to read, see `pick_clock`.

    Returns:
        `{name: milliseconds per call, one entry per round}`.
    """
    watch = Stopwatch(calls, settings, clock)
    watch.run(settings.rounds)
    return watch.samples


def summarise(samples_ms: Sequence[float]) -> Latency:
    """Return median and 90th percentile of the rounds."""
    return Latency(float(np.median(samples_ms)), float(np.quantile(samples_ms, 0.9)))


def ratio(samples_ms: Sequence[float], reference_ms: Sequence[float]) -> float:
    """Return the median over rounds of sample / reference, each from the same round."""
    return float(np.median(np.asarray(samples_ms) / np.asarray(reference_ms)))


def compare(candidate: Call, dense: Call, settings: LatencySettings, clock: Clock) -> Ratio:
    """Time a candidate between two runs of the dense network in every round.

    Rounds are added until the dense network looks like itself and the interval is as narrow as
    `TOLERANCE` to both sides, at most `MOST_EXTENSIONS` times as many.

    Args:
        candidate: call of the candidate.
        dense: call of the dense network.
        settings: rounds, at least `LEAST_ROUNDS` of which are run, and the least time per round.
        clock: to read, see `pick_clock`.
    """
    watch = Stopwatch({"dense": dense, "candidate": candidate, "again": dense}, settings, clock)
    for _ in range(MOST_EXTENSIONS):
        watch.run(max(settings.rounds, LEAST_ROUNDS))
        found = _ratio_of(watch.samples)
        if not found.noisy and found.high - found.low <= 2.0 * TOLERANCE * found.value:
            break
    return found


def _ratio_of(samples: Mapping[str, list[float]]) -> Ratio:
    dense, candidate, again = (np.asarray(samples[n]) for n in ("dense", "candidate", "again"))
    # The candidate runs in the middle of the two, where a drift leaves their mean.
    ratios = np.sort(candidate / ((dense + again) / 2.0))
    self_ratio = float(np.median(again / dense))
    low, high = median_interval(ratios)
    excess = abs(self_ratio - 1.0)
    wider = excess if excess > TOLERANCE else 0.0
    return Ratio(
        value=float(np.median(ratios)),
        low=low * (1.0 - min(wider, 1.0)),
        high=high * (1.0 + wider),
        self_ratio=self_ratio,
        rounds=len(ratios),
    )


def median_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """Return the 95 % interval of the median by order statistics; the extremes of few values."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    rank = max(1, int(binom.ppf((1.0 - _CONFIDENCE) / 2.0, len(ordered), 0.5)))
    return float(ordered[rank - 1]), float(ordered[-rank])
