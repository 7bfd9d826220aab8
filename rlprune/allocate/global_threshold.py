"""One threshold over the scores of all groups, read back as an allocation."""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from rlprune.cost.analytic import Widths
    from rlprune.cost.budget import Allocation, Budget
    from rlprune.cost.costs import Costs
    from rlprune.problem import Problem
    from rlprune.surgery.plan import Plan, Scores


def global_threshold(problem: Problem, criterion: str, normaliser: str = "none") -> Plan:
    """Keep the channels and heads above one threshold, such that the budget is met.

    All blocks stay. Scores are compared across groups as they are, so what makes them comparable
    is part of the method: without a normaliser, Taylor scores already are, and norms are not.

    Args:
        problem: network and budget.
        criterion: what scores the channels.
        normaliser: what makes scores of different groups comparable.

    Raises:
        CriterionError: if the criterion cannot be computed here.
        UnknownNameError: if there is no such criterion or normaliser.
    """
    scores = problem.scores(criterion, normaliser)
    ranking = Ranking(problem.costs, scores)
    return problem.decode(ranking.allocation(problem.budget), scores)


class Ranking:
    """All units that may go, of all groups, the least first.

    A unit is a channel, a head or another set of tied channels, and is worth the mean score of its
    channels. The best units of each group, as many as its floor holds, may not go. Among equals,
    channels of later index go first, as in `Group.keep_best`.

    Args:
        costs: of the network; they say what floors and roundings are.
        scores: one per channel of every group.
    """

    def __init__(self, costs: Costs, scores: Scores) -> None:
        self._costs = costs
        self._scores = scores

    def __len__(self) -> int:
        return len(self._order)

    @cached_property
    def _order(self) -> npt.NDArray[np.int64]:
        """The group of each unit that may go, the unit of least score first."""
        worth, index, owner = [], [], []
        for g, group in enumerate(self._costs.graph.groups):
            if group.kind == "block":
                continue
            units = np.sort(group.atom_scores(self._scores[group.name]))
            held = -(-self._costs.floors[g] // group.step)
            free = units[: len(units) - held]
            worth.append(free)
            index.append(np.arange(len(free)) / len(units))
            owner.append(np.full(len(free), g))
        if not owner:
            return np.zeros(0, dtype=np.int64)
        order = np.lexsort((np.concatenate(index), np.concatenate(worth)))
        return np.asarray(np.concatenate(owner)[order], dtype=np.int64)

    def widths(self, removed: int) -> Widths:
        """Return what is left of each group without that many units; shape `(groups,)`.

        Widths are rounded down to what plans may have, floors hold, and none grows with `removed`.
        """
        graph, steps = self._costs.graph, self._costs.steps
        units = np.bincount(self._order[:removed], minlength=len(graph.groups))
        left = graph.widths - units * graph.steps
        rounded = np.where(units > 0, left // steps * steps, left)
        return np.asarray(np.maximum(rounded, self._costs.floors), dtype=np.int64)

    def allocation(self, budget: Budget) -> Allocation:
        """Return the kept fractions at the lowest threshold that meets the budget.

        The last units below the budget are left to the decoder.
        """
        costs = self._costs
        removed = bisect_left(
            range(len(self)), True, key=lambda n: bool(budget.usage(costs, self.widths(n)) <= 1)
        )
        return np.asarray(self.widths(removed) / costs.graph.widths)
