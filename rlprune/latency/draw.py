"""Widths that a table is measured at: the dense network, uniform ones, and random ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rlprune.cost.analytic import Widths
from rlprune.graph.group_graph import GroupGraph

Fractions = npt.NDArray[np.float64]
"""Kept fraction of every group; below 1 for a block that goes."""

_UNIFORM = (0.75, 0.5, 0.25)
_MOST_BLOCKS = 0.5


def draw_widths(graph: GroupGraph, count: int, round_to: npt.ArrayLike, seed: int = 0) -> Widths:
    """Return the widths of plans, the dense network first; shape `(count, groups)`.

    Random ones have a level of their own, around which the groups scatter on a logarithmic scale;
    up to half of the blocks go.

    Args:
        graph: the network's dependency groups.
        count: how many.
        round_to: of which widths of channels are multiples, or whole; one number, or one for each
            group.
        seed: of the random ones.
    """
    generator = np.random.default_rng(seed)
    uniform = [np.where(graph.is_block, 1.0, kept) for kept in (1.0, *_UNIFORM)][:count]
    fractions = [*uniform, *(_random(graph, generator) for _ in range(count - len(uniform)))]
    return np.array([rounded(graph, one, round_to) for one in fractions])


def rounded(graph: GroupGraph, fractions: Fractions, round_to: npt.ArrayLike) -> Widths:
    """Return widths near `fractions` of the dense ones, rounded up; shape `(groups,)`.

    Args:
        graph: the network's dependency groups.
        fractions: to keep of every group.
        round_to: of which widths of channels are multiples, or whole.
    """
    steps = np.where(graph.is_block, 1, np.lcm(graph.steps, round_to))
    wanted = np.maximum(fractions * graph.widths, graph.floors)
    widths = np.ceil(np.round(wanted / steps, 6)) * steps
    blocks = fractions >= 1.0
    return np.where(graph.is_block, blocks, np.minimum(widths, graph.widths)).astype(np.int64)


def _random(graph: GroupGraph, generator: np.random.Generator) -> Fractions:
    lowest = np.log(np.maximum(graph.floors, 1) / graph.widths)
    groups = len(graph.groups)
    level, scatter = generator.random(), generator.random(groups) - 0.5
    fractions = np.exp(lowest * np.clip(level + scatter, 0.0, 1.0))
    gone = generator.random(groups) < _MOST_BLOCKS * generator.random()
    return np.where(graph.is_block, ~gone, fractions)
