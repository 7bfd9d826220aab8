"""What each group is worth where a budget is met: two profile evaluations each.

The sensitivity is measured on the dense network, one group at a time. At a small budget all groups
are cut at once, and what a channel is worth depends on what is left of the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rlprune.allocate.reference import Reference, best_measured
from rlprune.cost.budget import Allocation
from rlprune.graph.group_graph import GroupGraph

if TYPE_CHECKING:
    from rlprune.problem import Problem

STEP = 0.3
"""Log-ratio by which the share of one group is lowered, and raised."""

_MOST = 5.0  # of a change; one that breaks the network says no more than that

Changes = npt.NDArray[np.float64]
"""Log of the search score over that before a change, positive where it is for the worse; shape
`(2, groups)`: with one group narrower, and wider; the same twice for a block, which is removed or
put back."""

_Signs = npt.NDArray[np.float64]


def local_changes(problem: Problem, reference: Reference) -> Changes:
    """Change one group at a time; what it saves or costs is shared by the others."""
    groups = len(problem.graph.groups)
    signs = np.concatenate([-np.eye(groups), np.eye(groups)])
    measured = problem.profile([problem.decode(_moved(problem, reference, s)) for s in signs])
    negligible = problem.sensitivity.negligible
    ratios = [(one.score + negligible) / (reference.score + negligible) for one in measured]
    return np.log(np.minimum(ratios, math.exp(_MOST))).reshape(2, groups)


def refined(problem: Problem, reference: Reference, changes: Changes) -> Reference:
    """Return what is best of an allocation and its best changes, made together.

    Args:
        problem: whose budget is met.
        reference: the allocation.
        changes: of its groups; a few more profile evaluations show which go together.
    """
    together = [_moved(problem, reference, signs) for signs in _improving(changes)]
    candidates = [reference, best_measured(problem, together)] if together else [reference]
    return min(candidates, key=lambda one: one.score)


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


def _moved(problem: Problem, reference: Reference, signs: _Signs) -> Allocation:
    """Make groups of signs -1 narrower, of 1 wider; blocks change with either."""
    return altered(problem.graph, reference.allocation, STEP * signs, signs != 0)


def _improving(changes: Changes) -> list[_Signs]:
    """Return signs of the best change, of the two best, the four best, and so on to all."""
    best, signs = changes.min(axis=0), np.where(changes[0] < changes[1], -1.0, 1.0)
    order = [g for g in np.argsort(best, kind="stable") if best[g] < 0]
    counts = {min(1 << power, len(order)) for power in range(len(order).bit_length() + 1)}
    return [
        np.where(np.isin(np.arange(len(best)), order[:count]), signs, 0.0)
        for count in sorted(counts - {0})
    ]
