"""What single groups are worth where a budget is met: two profile evaluations each.

The sensitivity is measured on the dense network, one group at a time. At a small budget all groups
are cut at once, and what a channel is worth depends on what is left of the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rlprune.cost.budget import Allocation
from rlprune.graph.group_graph import GroupGraph

if TYPE_CHECKING:
    from rlprune.problem import Problem

STEP = 0.3
"""Log-ratio by which the share of one group is lowered, and raised."""

MOST_GROUPS = 24
"""Groups that are changed; where there are more, those that cost most."""

_MOST = 5.0  # of a change; one that breaks the network says no more than that

Changes = npt.NDArray[np.float64]
"""Log of the search score over that before a change, positive where it is for the worse; shape
`(2, groups)`: with one group narrower, and wider; the same twice for a block, which is removed or
put back; 0 for groups that are not changed."""


def neighbours(problem: Problem) -> list[Allocation]:
    """Return the heuristic's allocation with one group changed; the others share what that saves.

    Returns:
        Each group narrower, then each wider; a block is removed or put back, both times.
    """
    signs = np.eye(len(problem.graph.groups))[changed_groups(problem.graph)]
    return [
        altered(problem.graph, problem.reference.allocation, STEP * one, one != 0)
        for one in np.concatenate([-signs, signs])
    ]


def local_changes(problem: Problem) -> Changes:
    """Measure what becomes of the heuristic's plan; two profile evaluations for each group."""
    plans = [problem.decode(allocation) for allocation in neighbours(problem)]
    measured = problem.profile(plans)
    negligible = problem.sensitivity.negligible
    before = problem.reference.score + negligible
    ratios = [(one.score + negligible) / before for one in measured]
    changes = np.zeros((2, len(problem.graph.groups)))
    found = np.log(np.minimum(ratios, math.exp(_MOST))).reshape(2, -1)
    changes[:, changed_groups(problem.graph)] = found
    return changes


def changed_groups(graph: GroupGraph) -> npt.NDArray[np.intp]:
    """Return the indices of the groups that are changed, ascending."""
    costly = np.argsort(-graph.removed_share(), kind="stable")
    return np.sort(costly[:MOST_GROUPS])


def altered(
    graph: GroupGraph,
    allocation: Allocation,
    log_ratios: npt.NDArray[np.float64],
    toggled: npt.NDArray[np.bool_],
) -> Allocation:
    """Return an allocation with other shares, and with blocks removed or put back.

    Args:
        graph: dependency groups.
        allocation: kept fractions; 0 for blocks that are gone.
        log_ratios: of the shares of channels; what stands at blocks does not count.
        toggled: which blocks change; what stands at channels does not count.
    """
    blocks = np.where(toggled, allocation == 0, allocation > 0)
    return np.where(graph.is_block, blocks, allocation * np.exp(log_ratios))
