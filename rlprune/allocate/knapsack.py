"""Additive knapsack: the widths of least total loss, as if groups did not know of one another."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from rlprune.allocate.curves import Losses
    from rlprune.cost.analytic import Widths
    from rlprune.cost.budget import Budget
    from rlprune.cost.costs import Costs
    from rlprune.problem import Problem
    from rlprune.surgery.plan import Plan

# The price of the whole budget lies between these, in units of the largest loss of one group.
_LOG_PRICES = (-9.0, 9.0)
_ROUNDS = 20  # of bisection
_MOST_WIDTHS = 128  # that are tried of one group; enough for steps below 1 %
# Steps that two groups exchange.
_WIDER, _NARROWER = np.array(list(itertools.product((1, 2, 4), (0, 1, 2, 4, 8)))).T


def knapsack(problem: Problem) -> Plan:
    """Decode the widths of least total loss; blocks go where the sum of losses says so.

    Losses are the problem's sensitivity curves, whose measurement is counted as profile
    evaluations. That they add up is an assumption: layers interact, above all at small budgets.
    """
    widths = least_loss(problem.costs, problem.budget, problem.curves)
    return problem.decode(widths / problem.graph.widths)


def least_loss(costs: Costs, budget: Budget, losses: Losses) -> Widths:
    """Return widths of little total loss that meet the budget.

    The budget is given a price: the least of `total loss + price * usage` is found group by group,
    and the price by bisection. A price leaves gaps, and costs are products of widths, so a few
    steps at a time are then exchanged between groups; the same is tried from equal fractions. What
    comes out is a local optimum, and no worse than equal fractions.

    Args:
        costs: of the network.
        budget: what it may cost.
        losses: of every group alone at every width; `(groups, largest width + 1)`.
    """
    search = _Search(costs, budget, losses)
    low, high = _LOG_PRICES
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if budget.usage(costs, search.cheapest(middle)) <= 1:
            high = middle
        else:
            low = middle
    starts = (search.cheapest(high), budget.decode(costs, np.ones(len(costs.graph.groups))))
    ends = [search.exchanged(start) for start in starts if budget.usage(costs, start) <= 1]
    return min(ends, key=lambda widths: float(search.total(widths)))


class _Search:
    """Widths of least `total loss + price * usage`."""

    def __init__(self, costs: Costs, budget: Budget, losses: Losses) -> None:
        self._costs, self._budget, self._losses = costs, budget, losses
        self._graph = costs.graph
        self._rows = np.arange(len(self._graph.groups))
        self._scale = max(float(losses.max()), 1e-12)
        groups = range(len(self._graph.groups))
        self._choices = {g: self._widths_of(g) for g in groups if not self._graph.is_block[g]}
        self._inside = {g: self._free_without(g) for g in self._graph.blocks.values()}

    def cheapest(self, log_price: float) -> Widths:
        """Start with the dense network and improve one group at a time until none gets better."""
        price = self._scale * 10.0**log_price
        widths = self._graph.widths
        while True:
            before = widths
            for g, choices in self._choices.items():
                tried = np.tile(widths, (len(choices), 1))
                tried[:, g] = choices
                widths = self._best(tried, price)
            for g, inside in self._inside.items():
                without = np.where(inside, self._graph.widths, widths)
                without[g] = 0
                widths = self._best(np.stack([widths, without]), price)
            if (widths == before).all():
                return widths

    def exchanged(self, widths: Widths) -> Widths:
        """Widen one group at the expense of another until that helps nobody; the budget holds."""
        while True:
            before = widths
            for g in self._choices:
                tried = self._exchanges(widths, g)
                allowed = tried[self._budget.usage(self._costs, tried) <= 1]
                if len(allowed):
                    widths = np.asarray(allowed[int(np.argmin(self.total(allowed)))])
            if (widths == before).all():
                return widths

    def _exchanges(self, widths: Widths, g: int) -> Widths:
        """Return those of less total loss; only that of the two groups is looked up."""
        others = np.array(list(self._choices))
        steps = _WIDER[:, None] - np.where(others == g, _NARROWER[:, None], 0)
        wider = self._allowed(widths[g] + steps * self._costs.steps[g], np.array(g))
        steps = np.where(others == g, 0, _NARROWER[:, None])
        narrower = self._allowed(widths[others] - steps * self._costs.steps[others], others)
        gains = self._losses[g, widths[g]] - self._losses[g, wider]
        gains += self._losses[others, widths[others]] - self._losses[others, narrower]
        found, at = np.nonzero(gains > 0)
        tried = np.tile(widths, (len(found), 1))
        tried[np.arange(len(found)), others[at]] = narrower[found, at]
        tried[:, g] = wider[found, at]
        return tried

    def _allowed(self, widths: Widths, groups: npt.NDArray[np.intp]) -> Widths:
        """Round widths of groups down to what they may have."""
        dense, unit = self._graph.widths[groups], self._costs.steps[groups]
        rounded = np.where(widths < dense, widths // unit * unit, dense)
        return np.asarray(np.maximum(rounded, self._costs.floors[groups]))

    def _best(self, tried: Widths, price: float) -> Widths:
        charged = self.total(tried) + price * self._budget.usage(self._costs, tried)
        return np.asarray(tried[int(np.argmin(charged))])

    def total(self, tried: Widths) -> npt.NDArray[np.float64]:
        """Return the sum of losses; `(..., groups)` -> `(...)`."""
        return np.asarray(self._losses[self._rows, tried].sum(axis=-1))

    def _widths_of(self, g: int) -> Widths:
        """Return allowed widths, the widest first: of equals the first is taken."""
        width, step = int(self._graph.widths[g]), int(self._costs.steps[g])
        allowed = np.append(np.arange(self._costs.floors[g], width, step), width)
        chosen = np.linspace(0, len(allowed) - 1, min(len(allowed), _MOST_WIDTHS))
        return np.asarray(allowed[np.rint(chosen).astype(np.int64)][::-1])

    def _free_without(self, block: int) -> npt.NDArray[np.bool_]:
        """Return which groups cost nothing once a block is gone."""
        without = self._graph.widths.copy()
        without[block] = 0
        narrower = without - np.diag(without)
        return np.asarray(self._graph.params_of(narrower) == self._graph.params_of(without))
