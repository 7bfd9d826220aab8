"""What an agent learns from: networks of a pool, each at budgets that are drawn for it."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from rlprune.cache.store import Store
from rlprune.config import EvaluationSettings, Settings
from rlprune.cost.budget import Budget
from rlprune.data.splits import DataSplits
from rlprune.pool.folder import Entry
from rlprune.problem import Problem

_ABOVE_LEAST = 1.1  # a budget that only floors meet leaves nothing to decide
_WEIGHTS = {"macs": 3.0, "params": 1.0, "latency": 1.0}


class Draws(Settings):
    """How problems are drawn."""

    budgets: int = Field(default=3, ge=1)
    """Of each network."""
    gentlest: float = Field(default=0.9, gt=0, le=1)
    """Largest kept fraction that a budget allows."""
    hardest: float = Field(default=0.05, gt=0, le=1)
    """Smallest one; kept fractions between them are log-uniform."""
    timed: float = Field(default=0.3, ge=0, le=1)
    """Share of networks that are charged for their latency."""
    unwatched: float = Field(default=0.25, ge=0, le=1)
    """Share of problems that do not show how the network learned."""
    seed: int = Field(default=0, ge=0)
    """Of all draws; those of one network do not depend on the others."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.hardest >= self.gentlest:
            raise ValueError(
                f"the hardest budget keeps {self.hardest:g}, the gentlest {self.gentlest:g}; the "
                "hardest must keep less"
            )
        return self


def problems_of(
    entry: Entry,
    data: DataSplits,
    draws: Draws,
    *,
    evaluation: EvaluationSettings | None = None,
    store: Store | None = None,
) -> list[Problem]:
    """Return the problems of one network, none if it can hardly be made smaller.

    Args:
        entry: a network that learned.
        data: its task.
        draws: of budgets.
        evaluation: how plans are scored.
        store: keeps what is measured once per network.

    Raises:
        RunError: if the network's files are damaged.
    """
    rng = np.random.default_rng([draws.seed, entry.record.job.number])
    timed = bool(rng.random() < draws.timed)
    whole = Problem.build(
        entry.load(), data, "macs=1", evaluation=evaluation, measure_latency=timed, store=store
    )
    quantities = [name for name in _WEIGHTS if timed or name != "latency"]
    weights = np.array([_WEIGHTS[name] for name in quantities])
    found = []
    for _ in range(draws.budgets):
        quantity = str(rng.choice(quantities, p=weights / weights.sum()))
        place, watched = float(rng.random()), bool(rng.random() >= draws.unwatched)
        limited = whole.with_budget(Budget(((quantity, 1.0),)))  # widths may be rounded otherwise
        low = max(draws.hardest, _ABOVE_LEAST * limited.costs.reachable(quantity))
        if low < draws.gentlest:
            kept = low * math.exp(place * math.log(draws.gentlest / low))
            problem = whole.with_budget(Budget(((quantity, kept),)))
            problem.dynamics = problem.dynamics if watched else None
            found.append(problem)
    return found
