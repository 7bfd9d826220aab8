"""Soft coefficients by ascent along a numerically estimated gradient, within the budget.

Sundaram, Ulmen, Haider and Goerges, arXiv 2507.14882. Every point is decoded to the budget, which
takes the place of their tolerance: what a group gives up goes to the others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rlprune.agents.base import Proposal
from rlprune.agents.space import Space, stages
from rlprune.agents.trials import Trials
from rlprune.cost.budget import Allocation
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

# First step, and half distance of the first differences: wide ones see past local dips.
_RATE = 0.4
_DECAY = 0.5
_LENGTHS = (2.0, 1.0, 0.5, 0.25)  # of the steps that a round tries, in units of its rate
_UNITS = 1.5  # least half distance of a difference, in channels: widths are whole


class GradientAgent:
    """Central differences in every group, then steps along them; shortens both when none helps.

    Coordinates are the groups, or the stages of a network of many groups. A block has no gradient:
    each round tries to remove it, or to put it back. A round starts from the best point so far,
    whether a step has led there or a difference.

    Args:
        around_heuristic: start from the heuristic's allocation instead of uniform.
    """

    name = "gradient"

    def __init__(self, around_heuristic: bool = False) -> None:
        self._around_heuristic = around_heuristic

    def propose(self, problem: Problem, evaluations: int = 200) -> Proposal:
        """Ascend until steps are below one channel or so many distinct plans are evaluated.

        With 0 evaluations the centre is returned, unmeasured.
        """
        centre = problem.decode(Space(problem, self._around_heuristic).centre)
        if evaluations == 0:
            return Proposal(centre, self.name)
        with Trials(problem, evaluations, self.name) as trials:
            _ascend(Slopes(problem, trials), trials, centre)
        return trials.proposal()


def _ascend(slopes: Slopes, trials: Trials, centre: Plan) -> None:
    kept, rate = slopes.kept(centre), _RATE
    least = trials.score([centre])[0]
    while trials.open and rate >= slopes.finest:
        gradient, reached = slopes.at(kept, rate)
        steepest = float(np.abs(gradient).max(initial=0.0))
        if steepest > 0:
            steps = [-rate * length * gradient / steepest for length in _LENGTHS]
            reached += [slopes.moved(kept, step) for step in steps]
        scores = trials.score([slopes.plan(point) for point in reached])
        best = int(np.argmin(scores))
        if scores[best] < least:
            least, kept = scores[best], slopes.rescaled(reached[best])
        else:
            rate *= _DECAY


class Slopes:
    """How the search score changes with the kept fraction of each stage, at the budget.

    Args:
        problem: whose groups are meant.
        trials: pays for the differences.

    Attributes:
        finest: step below which no width would change.
    """

    def __init__(self, problem: Problem, trials: Trials) -> None:
        self._problem, self._trials = problem, trials
        self._graph, costs = problem.graph, problem.costs
        self._stages = stages(problem.graph)
        self._unit = costs.steps / self._graph.widths
        self._floors = costs.floors / self._graph.widths
        self.finest = float(self._unit[~self._graph.is_block].min(initial=1.0))

    def plan(self, kept: Allocation) -> Plan:
        """Return the plan that kept fractions mean at the budget."""
        return self._problem.decode(kept)

    def kept(self, plan: Plan) -> Allocation:
        """Return the kept fractions of a plan; shape `(groups,)`."""
        return np.asarray(plan.widths / self._graph.widths)

    def moved(self, kept: Allocation, by: npt.NDArray[np.float64]) -> Allocation:
        """Return kept fractions after steps, one for each stage, between floor and whole."""
        changed = kept.copy()
        for members, step in zip(self._stages, by, strict=True):
            changed[members] = np.clip(kept[members] + step, self._floors[members], 1.0)
        return changed

    def rescaled(self, kept: Allocation) -> Allocation:
        """Return the kept fractions that the decoder would make of these, but for rounding."""
        found = self.kept(self.plan(kept))
        scaled = ~self._graph.is_block & (found < 1.0)
        if not scaled.any():
            return kept
        factor = float((found[scaled] / kept[scaled]).mean())
        inside = np.clip(kept * factor, self._floors, 1.0)
        return np.where(self._graph.is_block, kept, inside)

    def at(self, kept: Allocation, rate: float) -> tuple[npt.NDArray[np.float64], list[Allocation]]:
        """Return the slope of the score in each stage, and all points that were evaluated.

        Args:
            kept: where; shape `(groups,)`.
            rate: half distance of a difference, a kept fraction; more where that is no channel.
        """
        pairs = [self._pair(kept, stage, rate) for stage in range(len(self._stages))]
        points = [point for pair in pairs for point in pair]
        points += [self._toggled(kept, block) for block in self._graph.blocks.values()]
        scores = self._trials.score([self.plan(point) for point in points])
        slopes = []
        for stage, (up, down) in enumerate(pairs):
            distance = float((up - down)[self._stages[stage]].mean())
            rise = scores[2 * stage] - scores[2 * stage + 1]
            slopes.append(rise / distance if distance > 0 and np.isfinite(rise) else 0.0)
        return np.array(slopes), points

    def _pair(self, kept: Allocation, stage: int, rate: float) -> tuple[Allocation, Allocation]:
        """Return the ends of a difference, so far apart that a width differs after decoding."""
        members = self._stages[stage]
        half = max(rate, _UNITS * float(self._unit[members].max()))
        while True:
            by = np.where(np.arange(len(self._stages)) == stage, half, 0.0)
            up, down = self.moved(kept, by), self.moved(kept, -by)
            differs = self.plan(up).widths[members] != self.plan(down).widths[members]
            if differs.any() or half >= 1.0:
                return up, down
            half *= 2

    def _toggled(self, kept: Allocation, block: int) -> Allocation:
        changed = kept.copy()
        changed[block] = 1.0 - changed[block]
        return changed
