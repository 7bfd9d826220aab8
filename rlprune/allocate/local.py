"""What each group is worth at the heuristic's plan: one profile evaluation each, at one budget.

The sensitivity is measured on the dense network, one group at a time. At a small budget all groups
are cut at once, and what a channel is worth there depends on what is left of the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rlprune.cache.fingerprint import combined
from rlprune.cache.store import Store

if TYPE_CHECKING:
    from rlprune.problem import Problem

STEP = 0.3
"""Log-ratio by which the share of one group is lowered."""

_MOST = 5.0  # of a change; one that breaks the network says no more than that
_STORED = "local-1"  # the number changes with what is measured


def local_changes(problem: Problem, store: Store) -> npt.NDArray[np.float64]:
    """Change one group at the heuristic's plan at a time, or look up what came of it.

    A group of channels has its share lowered by `STEP`, which the others gain in the budget; a
    block is removed, or put back.

    Args:
        problem: whose heuristic is meant.
        store: where scores are kept.

    Returns:
        Log of the search score over the heuristic's, positive where the change is for the worse;
        shape `(groups,)`.
    """
    graph, reference = problem.graph, problem.reference
    groups = np.eye(len(graph.groups), dtype=bool)
    narrowed = reference.allocation * np.exp(-STEP * groups)
    changed = np.where(graph.is_block & groups, reference.allocation == 0, narrowed)
    plans = [problem.decode(allocation) for allocation in changed]
    key = combined(problem.evaluator.fingerprint, *(plan.key.hex() for plan in plans))
    scores = store.get(_STORED, key)
    if scores is None:
        measured = problem.evaluator.evaluate_many(plans, profile=True)
        scores = [min(one.score, _worst(problem)) for one in measured]
        store.put(_STORED, key, scores)
    else:
        problem.ledger.profile_evaluations += len({plan.key for plan in plans})
    negligible = problem.sensitivity.negligible
    base = reference.measurement.score + negligible
    return np.log((np.array(scores) + negligible) / base)


def _worst(problem: Problem) -> float:
    return math.exp(_MOST) * (problem.reference.measurement.score + problem.sensitivity.negligible)
