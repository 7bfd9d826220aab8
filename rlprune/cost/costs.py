"""What widths cost in every quantity, and which widths a plan may have."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from rlprune.cost.analytic import AnalyticCost, Widths
from rlprune.errors import BudgetError
from rlprune.graph.group_graph import GroupGraph
from rlprune.latency.provider import LatencyProvider

_LEAST_STEPS = 4
_DECIMALS = 9  # of a kept latency


class Costs:
    """MACs, parameters and latency of one network as functions of its widths.

    Args:
        graph: the network's dependency groups.
        latency: what is charged for latency, or None where no budget limits it.
        round_to: widths of groups of channels are multiples of this, or whole; one number, or one
            for each group.
    """

    def __init__(
        self, graph: GroupGraph, latency: LatencyProvider | None = None, round_to: npt.ArrayLike = 1
    ) -> None:
        if np.min(round_to, initial=1) < 1:
            raise BudgetError(
                f"widths cannot be multiples of {round_to!r}; type --round-to 1 or more"
            )
        self.graph = graph
        self.latency = latency
        self.round_to: Widths = np.asarray(round_to, dtype=np.int64)

    @cached_property
    def steps(self) -> Widths:
        """By how much the width of each group changes; shape `(groups,)`."""
        channels = np.array([group.kind == "channels" for group in self.graph.groups])
        steps = np.where(channels, np.lcm(self.graph.steps, self.round_to), self.graph.steps)
        return np.asarray(steps, dtype=np.int64)

    @cached_property
    def floors(self) -> Widths:
        """Fewest channels that each group may keep; shape `(groups,)`."""
        rounded = -(-self.graph.floors // self.steps) * self.steps
        return np.asarray(np.minimum(rounded, self.graph.widths))

    def kept(self, quantity: str, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return cost / dense cost of width vectors; `(..., groups)` -> `(...)`.

        Raises:
            BudgetError: for latency where nothing is charged for it.
        """
        if quantity == "latency":
            if self.latency is None:
                raise BudgetError(
                    "the problem was built without latency; build it with a latency budget, or "
                    "with measure_latency=True"
                )
            # In floating point a sum of many at once is not quite the sum of one alone.
            return np.asarray(np.round(self.latency.kept(widths), _DECIMALS))
        cost, dense = self._analytics[quantity]
        return np.asarray(cost(widths) / dense)

    def kept_if_each(
        self, quantity: str, widths: Widths, changed: Widths
    ) -> npt.NDArray[np.float64]:
        """Return the same with one width changed at a time; `(groups,)` twice -> `(groups,)`."""
        if quantity == "latency":
            one_by_one = np.where(np.eye(len(widths), dtype=bool), changed, widths)
            return self.kept(quantity, one_by_one)
        cost, dense = self._analytics[quantity]
        return np.asarray(cost.each_changed(widths, changed) / dense)

    @cached_property
    def _analytics(self) -> dict[str, tuple[AnalyticCost, int]]:
        """Analytic costs with what the dense network costs."""
        graph = self.graph
        return {
            "macs": (graph.macs_of, graph.macs()),
            "params": (graph.params_of, graph.params()),
        }

    def reachable(self, quantity: str) -> float:
        """Return the least kept fraction: every group keeps its floor, and blocks stay."""
        narrowest = np.where(self.graph.is_block, 1, self.floors)
        return float(self.kept(quantity, narrowest))


def rounding_of(graph: GroupGraph, granularity: int, round_to: int | None = None) -> Widths:
    """Return to what multiples each group is rounded on a device; shape `(groups,)`.

    What the device takes at once is halved until a group has four steps: half empty vectors cost
    something, but narrow groups that could not be pruned at all would cost more.

    Args:
        graph: the network's dependency groups.
        granularity: channels that the device takes at once.
        round_to: what the user wants instead, for all groups.
    """
    steps = [round_to or _halved(granularity, group.width) for group in graph.groups]
    return np.array(steps, dtype=np.int64)


def _halved(step: int, width: int) -> int:
    while step > 1 and step * _LEAST_STEPS > width:
        step //= 2
    return step
