"""How much a network minds the loss of a group, and what plans make of that under the budget."""

from __future__ import annotations

import numpy as np

from rlprune.allocate.estimated import errors_at_half
from rlprune.envs.observation.feature import Column, Feature, log_relative, nats, share
from rlprune.graph.group_graph import GroupGraph
from rlprune.problem import Problem

KEPT = (0.7, 0.3, 0.1)
_LEAST = 1e-3  # of a loss, in units of the mean sensitivity
_LEAST_KEPT = 0.01

SENSITIVITY: tuple[Feature, ...] = (
    nats("sensitivity", "loss with the group alone cut to half, over its mean over groups"),
    share("sensitivity_rank", "rank of the sensitivity among its kind, 0 = least, 1 = most"),
    nats("sensitivity_per_macs", "relative sensitivity over relative MACs share"),
    share("reconstruction", "error that the readers are left with, group alone cut to half"),
    *(
        nats(f"loss_at_{kept}", f"estimated loss with {kept} kept, over mean sensitivity")
        for kept in KEPT
    ),
    share("heuristic_kept", "channels that the heuristic's plan keeps"),
    nats("knapsack", "channels that the knapsack of estimated losses keeps over heuristic_kept"),
)
"""A loss is the search score less the dense network's."""


def sensitivity(problem: Problem) -> list[Column]:
    """Return a column for each of `SENSITIVITY`."""
    graph, relative = problem.graph, problem.sensitivity.relative
    estimated = problem.estimated_curves / problem.sensitivity.mean
    rows = np.arange(len(graph.groups))
    at = [np.rint(graph.widths * kept).astype(np.int64) for kept in KEPT]
    heuristic = problem.reference.plan.widths / graph.widths
    best = problem.estimated_widths / graph.widths
    return [
        np.log(relative),
        _rank(graph, relative),
        np.log(relative) - log_relative(graph, graph.removed_share()),
        errors_at_half(graph, problem.reconstruction),
        *(np.log(np.maximum(estimated[rows, widths], _LEAST)) for widths in at),
        heuristic,
        np.log(np.maximum(best, _LEAST_KEPT) / np.maximum(heuristic, _LEAST_KEPT)),
    ]


def _rank(graph: GroupGraph, values: Column) -> Column:
    """Return the rank of every group among those of its kind, from 0 to 1."""
    ranks = np.zeros(len(values))
    for kind in (graph.is_block, ~graph.is_block):
        ranks[kind] = values[kind].argsort().argsort() / max(1, kind.sum() - 1)
    return ranks
