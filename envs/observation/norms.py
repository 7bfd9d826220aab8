"""How the squared norm of a group is spread over its units."""

from __future__ import annotations

import numpy as np

from rlprune.envs.observation.feature import Column, Feature, share
from rlprune.graph.group_graph import Group, GroupGraph

_SHARES = (0.25, 0.5, 0.75)
_LEAST = 1e-12

NORMS: tuple[Feature, ...] = (
    share("lowest_quarter", "of the squared norm held by the lowest 25 % of units"),
    share("lowest_half", "of the squared norm held by the lowest 50 % of units"),
    share("lowest_three_quarters", "of the squared norm held by the lowest 75 % of units"),
    Feature("norm_variation", "coefficient of variation of the norms of units", "ratio", 0, 5),
)
"""A unit is what is kept or removed as one: a channel, a set of tied ones, a head."""


def norms(graph: GroupGraph) -> list[Column]:
    """Return a column for each of `NORMS`."""
    return list(np.array([_of(group) for group in graph.groups]).T)


def _of(group: Group) -> tuple[float, ...]:
    squares = np.sort(np.bincount(group.atom_of, weights=np.asarray(group.scores) ** 2))
    roots, total = np.sqrt(squares), max(float(squares.sum()), _LEAST)
    lowest = [float(squares[: int(len(squares) * part)].sum()) / total for part in _SHARES]
    return (*lowest, float(roots.std()) / max(float(roots.mean()), _LEAST))
