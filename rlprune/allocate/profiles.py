"""What each group is worth alone: one evaluation for each way to cut it, kept in a store."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rlprune.cache.fingerprint import combined
from rlprune.cache.store import Store
from rlprune.cost.analytic import Widths
from rlprune.evaluate.evaluator import Evaluator, Measurement
from rlprune.evaluate.scoring import Score
from rlprune.graph.group_graph import GroupGraph
from rlprune.progress import track
from rlprune.surgery.plan import Plan

_PLANS = "plans-1"  # the number changes with what is stored

Cut = tuple[int, int]
"""A group's index and the width that it alone is cut to."""


def profile_cuts(
    evaluator: Evaluator, store: Store, cuts: Sequence[Cut]
) -> npt.NDArray[np.float64]:
    """Score the network with one group cut at a time, or look the scores up; see `profile_plans`.

    Returns:
        Finite search scores; shape `(cuts,)`.
    """
    graph = evaluator.graph
    measured = profile_plans(evaluator, store, [_alone(graph, *cut) for cut in cuts])
    scores = np.array([one.score for one in measured])
    return _finite(scores, graph.is_block[[g for g, _ in cuts]])


def profile_plans(evaluator: Evaluator, store: Store, plans: Sequence[Plan]) -> list[Measurement]:
    """Measure plans, or look them up; profile evaluations in either case.

    What was stored is charged like what is measured: a method that uses a profile pays for it.

    Args:
        evaluator: scores the plans.
        store: where the scores are kept; not where one is infinite.
        plans: for the evaluator's graph.
    """
    key = combined(evaluator.fingerprint, *(plan.key.hex() for plan in plans))
    known = store.get(_PLANS, key)
    if known is not None:
        return evaluator.recall(plans, [Score(*one) for one in known])
    measured: list[Measurement] = []
    for some in track(plans, "measuring a profile", evaluator.scorer.lanes):
        measured += evaluator.evaluate_many(some, profile=True)
    if all(math.isfinite(one.score) and math.isfinite(one.quality) for one in measured):
        store.put(_PLANS, key, [(one.score, one.quality) for one in measured])
    return measured


def width_at(graph: GroupGraph, g: int, kept: float) -> int:
    """Return a kept fraction of a group rounded down to whole atoms, at least its floor.

    There is no part of a block: anything below 1 removes it.
    """
    atoms = int(graph.widths[g] * kept / graph.steps[g] + 1e-9)
    return max(atoms * int(graph.steps[g]), int(graph.floors[g]))


def _alone(graph: GroupGraph, g: int, width: int) -> Plan:
    widths: Widths = graph.widths.copy()
    widths[g] = width
    return Plan.from_widths(graph, widths)


def _finite(
    scores: npt.NDArray[np.float64], is_block: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Replace infinite scores by the largest finite one, for channels that of channels."""
    finite = np.isfinite(scores)
    channels = scores[finite & ~is_block].max(initial=0.0) or 1.0
    anything = max(channels, scores[finite].max(initial=0.0))
    return np.where(finite, scores, np.where(is_block, anything, channels))
