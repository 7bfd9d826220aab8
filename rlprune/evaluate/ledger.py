"""What a search has used: evaluations, time, and how fast it got better."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """Counts of everything that was evaluated; times and scores do not count in comparisons.

    Attributes:
        evaluations: distinct plans materialised and scored.
        profile_evaluations: those made for sensitivity profiles, counted apart.
        cache_hits: requests answered from the cache.
        seconds: spent materialising and scoring.
        scores: search score of each of the `evaluations`, in order; one that was stopped early is
            what it is at least.
    """

    evaluations: int = 0
    profile_evaluations: int = 0
    cache_hits: int = 0
    seconds: float = field(default=0.0, compare=False)
    scores: list[float] = field(default_factory=list, compare=False)

    @property
    def best_so_far(self) -> tuple[float, ...]:
        """Least search score after each of the `evaluations`."""
        return tuple(itertools.accumulate(self.scores, min))

    @property
    def improvements(self) -> tuple[tuple[int, float], ...]:
        """The same, `(evaluation, score)` only where it changed; evaluations count from 1."""
        curve = enumerate(self.best_so_far, start=1)
        steps = [next(group) for _, group in itertools.groupby(curve, key=lambda step: step[1])]
        return tuple(step for step in steps if math.isfinite(step[1]))

    @classmethod
    def total(cls, ledgers: Iterable[Ledger]) -> Ledger:
        """Return the sum of several ledgers; scores of several networks have no common order."""
        total = cls()
        for ledger in ledgers:
            total.evaluations += ledger.evaluations
            total.profile_evaluations += ledger.profile_evaluations
            total.cache_hits += ledger.cache_hits
            total.seconds += ledger.seconds
        return total

    def since(self, earlier: Ledger) -> Ledger:
        """Return what was counted after an earlier copy of this ledger."""
        return Ledger(
            self.evaluations - earlier.evaluations,
            self.profile_evaluations - earlier.profile_evaluations,
            self.cache_hits - earlier.cache_hits,
            self.seconds - earlier.seconds,
            self.scores[len(earlier.scores) :],
        )
