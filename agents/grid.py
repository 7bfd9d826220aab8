"""Soft coefficients by grid search: a fraction to remove from each group, on a regular grid.

Sundaram, Ulmen, Haider and Goerges, arXiv 2507.14882. What a point costs is analytic, so that only
those near the budget need to be evaluated (screened); without that, all of them are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rlprune.agents.base import Proposal
from rlprune.agents.space import Space, stages
from rlprune.agents.trials import Trials
from rlprune.cost.budget import Allocation
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

TOLERANCE = 0.04
"""How far from the budget a point may lie, as a share of it: 0.02 of the parameters at a half."""

_MOST_POINTS = 200_000  # of a grid that is screened
_CHUNK = 1 << 14


class GridAgent:
    """Evaluates the points of the finest grid that the allowance is enough for.

    The removed fractions of a grid of n levels are 0, 1/n, ..., 1 - 1/n for each group, or for each
    of the stages of a network of many groups; one more coordinate says which block goes, if any.
    Points near the budget are decoded to it, so that they all meet it and use it up. The others
    are never proposed.

    Args:
        screened: evaluate only points near the budget.
        around_heuristic: start with the heuristic's allocation instead of uniform, in case that no
            point is better.
    """

    def __init__(self, screened: bool = True, around_heuristic: bool = False) -> None:
        self.name = "grid" if screened else "grid-unscreened"
        self._screened = screened
        self._around_heuristic = around_heuristic

    def propose(self, problem: Problem, evaluations: int = 200) -> Proposal:
        """Evaluate the centre and a grid; with 0 evaluations return the centre, unmeasured."""
        centre = problem.decode(Space(problem, self._around_heuristic).centre)
        if evaluations == 0:
            return Proposal(centre, self.name)
        grid = Grid(problem, self.levels(problem, evaluations))
        plans, feasible = [centre], [True]
        for kept, near in grid.points():
            if near or not self._screened:
                plans.append(problem.decode(kept) if near else grid.as_it_is(kept))
                feasible.append(near)
        with Trials(problem, evaluations, self.name) as trials:
            trials.score(plans, feasible)
        return trials.proposal()

    def levels(self, problem: Problem, evaluations: int) -> int:
        """Return how many levels the finest affordable grid has, 0 where there is none."""
        finest = int((problem.graph.widths // problem.costs.steps).max())
        best = 0
        for levels in range(2, finest + 1):
            grid = Grid(problem, levels)
            if grid.size > (_MOST_POINTS if self._screened else evaluations - 1):
                break
            if not self._screened or grid.near_budget() < evaluations:
                best = levels
        return best


class Grid:
    """Removed fractions 0, 1/levels, 2/levels ... of every stage, with one block gone or none.

    Args:
        problem: whose groups and budget are meant.
        levels: of each coordinate; 0 leaves no points.

    Attributes:
        size: number of points, evaluated or not.
    """

    def __init__(self, problem: Problem, levels: int) -> None:
        self._problem, self._levels = problem, levels
        self._stages = stages(problem.graph)
        self._blocks = np.flatnonzero(problem.graph.is_block)
        self._shape = (len(self._blocks) + 1, *(levels for _ in self._stages))
        self.size = (len(self._blocks) + 1) * levels ** len(self._stages)

    def points(self) -> Iterator[tuple[Allocation, bool]]:
        """Yield the kept fractions of each point, and whether its cost is near the budget."""
        for kept in self._chunks():
            yield from zip(kept, self._is_near(kept).tolist(), strict=True)

    def near_budget(self) -> int:
        """Return how many points are near the budget; nothing is evaluated."""
        return sum(int(self._is_near(kept).sum()) for kept in self._chunks())

    def as_it_is(self, kept: Allocation) -> Plan:
        """Return the plan of a point that is not decoded to the budget."""
        return Plan.from_widths(self._problem.graph, self._widths(kept))

    def _chunks(self) -> Iterator[npt.NDArray[np.float64]]:
        for start in range(0, self.size, _CHUNK):
            numbers = np.arange(start, min(start + _CHUNK, self.size))
            block, *levels = np.unravel_index(numbers, self._shape)
            kept = np.ones((len(numbers), len(self._problem.graph.groups)))
            for members, level in zip(self._stages, levels, strict=True):
                kept[:, members] = 1.0 - level[:, None] / self._levels
            kept[:, self._blocks] = block[:, None] != np.arange(1, len(self._blocks) + 1)
            yield kept

    def _is_near(self, kept: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        usage = self._problem.budget.usage(self._problem.costs, self._widths(kept))
        return np.asarray(np.abs(usage - 1.0) <= TOLERANCE)

    def _widths(self, kept: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        graph, costs = self._problem.graph, self._problem.costs
        units = np.rint(kept * graph.widths / costs.steps)
        widths = np.clip(units * costs.steps, costs.floors, graph.widths)
        return np.where(graph.is_block, kept, widths).astype(np.int64)
