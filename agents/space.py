"""Where searches look: a vector around an allocation, one coordinate per group or per stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rlprune.cost.analytic import Widths
from rlprune.cost.budget import Allocation
from rlprune.envs.walk import BLOCK_THRESHOLD, RESIDUAL_SCALE, changed
from rlprune.graph.group_graph import GroupGraph
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

Vector = npt.NDArray[np.float64]

_TOGGLED = 2 * BLOCK_THRESHOLD

MOST_STAGES = 6
"""Coordinates of channels that a search by grid or gradient is left with."""


class Space:
    """Vectors that mean allocations, as the actions of the agent do; 0 is the centre.

    A coordinate of channels multiplies the centre's kept fractions by its exponential; a block goes
    where its coordinate is below `BLOCK_THRESHOLD`, or comes back where the centre is without it. A
    common shift of all channels means nothing, because the decoder scales them to the budget.

    Args:
        problem: whose groups are meant.
        around_heuristic: the centre is the heuristic's allocation instead of uniform.

    Attributes:
        centre: kept fractions that the zero vector means; shape `(groups,)`.
        size: number of coordinates.
    """

    def __init__(self, problem: Problem, around_heuristic: bool) -> None:
        self._problem = problem
        groups = len(problem.graph.groups)
        self.centre = problem.reference.allocation if around_heuristic else np.ones(groups)
        self.size = groups

    def allocation(self, x: Vector) -> Allocation:
        """Return the kept fractions that a vector means; both of shape `(groups,)`."""
        return changed(self._problem.graph, self.centre, x)

    def vector(self, allocation: Allocation) -> Vector:
        """Return the vector that means an allocation."""
        is_block = self._problem.graph.is_block
        blocks = np.where((allocation > 0) == (self.centre > 0), 0.0, _TOGGLED)
        ratios = np.where(is_block, 1.0, allocation) / np.where(is_block, 1.0, self.centre)
        return np.where(is_block, blocks, np.log(ratios) / RESIDUAL_SCALE)

    def widths(self, x: Vector) -> Widths:
        """Return the widths that a vector means within the budget; shape `(groups,)`."""
        return self._problem.budget.decode(self._problem.costs, self.allocation(x))

    def plan(self, x: Vector) -> Plan:
        """Return the plan that a vector means within the budget."""
        return Plan.from_widths(self._problem.graph, self.widths(x))

    def near(self, x: Vector, rng: np.random.Generator, spread: float, blocks: float) -> Vector:
        """Draw a vector near another.

        Args:
            x: the other.
            rng: draws.
            spread: standard deviation of each coordinate of channels.
            blocks: how many blocks are removed or put back, on average.
        """
        is_block = self._problem.graph.is_block
        drawn = x + rng.normal(0.0, spread, self.size)
        chosen = rng.random(self.size) < blocks / max(1, is_block.sum())
        toggled = np.where(x < BLOCK_THRESHOLD, 0.0, _TOGGLED)
        return np.where(is_block, np.where(chosen, toggled, x), drawn)

    def near_in_one(self, x: Vector, rng: np.random.Generator, spread: float) -> Vector:
        """Draw a vector that differs in one coordinate alone; a block is removed or put back."""
        chosen = np.arange(self.size) == rng.integers(self.size)
        return np.where(chosen, self.near(x, rng, spread, blocks=self.size), x)


def stages(graph: GroupGraph, most: int = MOST_STAGES) -> list[list[int]]:
    """Return which groups of channels share a coordinate, so that there are at most so many.

    Each has its own where that is few enough. Else groups in a row share one if they are as wide
    and of one kind, as in a stage of a ResNet; then neighbours of the most similar width do.

    Returns:
        Group indices of each stage, in forward order; blocks are in none.
    """
    channels = [g for g, block in enumerate(graph.is_block) if not block]
    found = [[g] for g in channels]
    if len(found) > most:
        found = _runs(graph, channels)
    while len(found) > most:
        levels = [np.log(graph.widths[stage]).mean() for stage in found]
        first = int(np.argmin(np.abs(np.diff(levels))))
        found[first : first + 2] = [found[first] + found[first + 1]]
    return found


def _runs(graph: GroupGraph, channels: Sequence[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for g in channels:
        same = found and _shape(graph, found[-1][-1]) == _shape(graph, g)
        if same:
            found[-1].append(g)
        else:
            found.append([g])
    return found


def _shape(graph: GroupGraph, g: int) -> tuple[int, str]:
    return graph.groups[g].width, graph.groups[g].kind
