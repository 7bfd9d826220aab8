"""A budget, and the one decoder that turns any allocation into widths that meet it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from rlprune.config import Quantity
from rlprune.cost.analytic import Widths
from rlprune.cost.costs import Costs
from rlprune.errors import BudgetError, UnknownNameError
from rlprune.graph.group_graph import GroupGraph

Allocation = npt.NDArray[np.float64]
"""Kept fraction per group, in (0, 1], or 0 for a block that goes; shape `(groups,)`."""

QUANTITIES: tuple[str, ...] = get_args(Quantity)

_SEARCH_POINTS = 32
_SEARCH_ROUNDS = 3


@dataclass(frozen=True)
class Budget:
    """Kept fractions of quantities that a pruned network may not exceed, all at once.

    Attributes:
        limits: `(quantity, kept fraction)` pairs, each fraction in (0, 1].
    """

    limits: tuple[tuple[str, float], ...]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read `macs=0.5`, or `macs=0.5,params=0.6` when both must hold.

        Raises:
            BudgetError: for anything else, naming what is allowed.
            UnknownNameError: for an unknown quantity.
        """
        limits: dict[str, float] = {}
        for part in text.split(","):
            quantity, equals, value = part.strip().partition("=")
            if not equals:
                raise BudgetError(
                    f"budget {text!r} is not QUANTITY=KEPT; type for example macs=0.5"
                )
            if quantity not in QUANTITIES:
                raise UnknownNameError("budget quantity", quantity, QUANTITIES)
            if quantity in limits:
                raise BudgetError(f"budget {text!r} names {quantity!r} twice")
            limits[quantity] = _fraction(value, text)
        return cls(tuple(limits.items()))

    def __str__(self) -> str:
        return ",".join(f"{quantity}={kept:g}" for quantity, kept in self.limits)

    def usage(self, costs: Costs, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return cost / allowed cost, the largest over all limits; feasible when <= 1."""
        ratios = [costs.kept(quantity, widths) / kept for quantity, kept in self.limits]
        return np.asarray(np.max(ratios, axis=0))

    def achieved(self, costs: Costs, widths: Widths) -> dict[str, float]:
        """Return the kept fraction of every limited quantity."""
        return {quantity: float(costs.kept(quantity, widths)) for quantity, _ in self.limits}

    def limit(self, quantity: str) -> float:
        """Return the kept fraction allowed, 1 where there is no limit."""
        return dict(self.limits).get(quantity, 1.0)

    @property
    def limits_latency(self) -> bool:
        """Whether latency is among what is limited: it has to be measured then."""
        return "latency" in dict(self.limits)

    @property
    def untimed(self) -> Budget:
        """The limits that nothing has to be measured for; there may be none."""
        return Budget(tuple(limit for limit in self.limits if limit[0] != "latency"))

    def with_limit(self, quantity: str, kept: float) -> Budget:
        """Return the budget with another limit for a quantity that it limits."""
        return Budget(tuple((q, kept if q == quantity else k) for q, k in self.limits))

    def check_reachable(self, costs: Costs) -> None:
        """Raise `BudgetError` with the reachable range if even the floors exceed the budget."""
        if not costs.graph.groups:
            reasons = "; ".join(f"{item.name}: {item.reason}" for item in costs.graph.left_out[:3])
            raise BudgetError(f"nothing in this model can be pruned ({reasons})")
        for quantity, kept in self.limits:
            least = costs.reachable(quantity)
            if kept < least:
                step = int(costs.round_to.max(initial=1))
                hint = "; --round-to 1 reaches further" if step > 1 else ""
                rounding = f" of multiples of {step}" if step > 1 else ""
                raise BudgetError(
                    f"budget {quantity}={kept:g} cannot be reached on this model: "
                    f"{quantity} can go from {least:.4f} to 1 (every group keeps its floor"
                    f"{rounding}, and blocks stay){hint}"
                )

    def decode(self, costs: Costs, allocation: Allocation) -> Widths:
        """Return the widths proportional to `allocation` that just meet the budget.

        A block goes if its fraction is 0 and stays as it is otherwise. Channels inside a block that
        goes are left whole: their width no longer costs anything.

        One common factor is found by search, so a common scale of the allocation does not matter;
        then single units go to the groups that are furthest below their share while the budget
        holds. `usage <= 1` always holds for the result.

        Raises:
            BudgetError: if the budget cannot be reached or the allocation is not positive.
        """
        self.check_reachable(costs)
        graph = costs.graph
        ratios = _checked(graph, allocation)
        channels = ~graph.is_block
        widths = np.where(channels, graph.widths, ratios > 0).astype(np.int64)
        if not channels.any():
            return widths
        ratios = np.where(channels, ratios / ratios[channels].max(), ratios)
        widths = _widths_at(costs, ratios, self._largest_factor(costs, ratios))
        widths = np.where(inside_removed(graph, widths), graph.widths, widths)
        return self._fill(costs, widths, ratios * graph.widths)

    def _largest_factor(self, costs: Costs, ratios: Allocation) -> float:
        graph = costs.graph
        # Below `low` every group is at its floor, at `high` every group is whole.
        channels = ~graph.is_block
        low = float(np.log(0.5 / (ratios[channels].max() * graph.widths[channels].max())))
        high = float(np.log(1.0 / ratios[channels].min())) + 1e-9
        for _ in range(_SEARCH_ROUNDS):
            points = np.linspace(low, high, _SEARCH_POINTS)
            fits = self.usage(costs, _widths_at(costs, ratios, np.exp(points)[:, None])) <= 1.0
            last = int(np.flatnonzero(fits)[-1])
            low, high = points[last], points[min(last + 1, _SEARCH_POINTS - 1)]
        return float(np.exp(low))

    def _fill(self, costs: Costs, widths: Widths, wanted: Allocation) -> Widths:
        graph = costs.graph
        while True:
            wider = np.minimum(widths + costs.steps, graph.widths)
            ratios = [costs.kept_if_each(q, widths, wider) / kept for q, kept in self.limits]
            fits = (np.max(ratios, axis=0) <= 1.0) & (widths < graph.widths) & ~graph.is_block
            if not fits.any():
                return widths
            # Rounded, so that ties go to the first group and not to floating-point noise.
            deficit = np.round(wider / np.maximum(wanted, 1e-12), 9)
            chosen = int(np.argmin(np.where(fits, deficit, np.inf)))
            widths = np.where(np.arange(len(widths)) == chosen, wider, widths)


def _fraction(value: str, text: str) -> float:
    try:
        kept = float(value)
    except ValueError:
        kept = float("nan")
    if not 0.0 < kept <= 1.0:
        raise BudgetError(f"budget {text!r}: the kept fraction must be in (0, 1], got {value!r}")
    return kept


def _checked(graph: GroupGraph, allocation: Allocation) -> Allocation:
    ratios = np.asarray(allocation, dtype=np.float64)
    if ratios.shape == graph.widths.shape:
        positive = (ratios > 0) | (graph.is_block & (ratios == 0))
        if (np.isfinite(ratios) & positive).all():
            return ratios
    raise BudgetError(
        f"an allocation needs {len(graph.groups)} positive fractions (0 removes a block), "
        f"got {ratios!r}"
    )


def inside_removed(graph: GroupGraph, widths: Widths) -> npt.NDArray[np.bool_]:
    """Return which groups of channels lie in removed blocks, so that their width is no matter."""
    without = widths - np.diag(widths)
    return np.asarray((graph.params_of(without) == graph.params_of(widths)) & ~graph.is_block)


def _widths_at(costs: Costs, ratios: Allocation, factor: npt.ArrayLike) -> Widths:
    graph = costs.graph
    units = np.floor(np.asarray(factor) * ratios * graph.widths / costs.steps + 1e-9)
    widths = np.clip(units * costs.steps, costs.floors, graph.widths)
    return np.where(graph.is_block, ratios > 0, widths).astype(np.int64)
