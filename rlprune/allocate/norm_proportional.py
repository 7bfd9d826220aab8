"""Kept fractions in proportion to norms: the heuristic that the soft coefficients are held against.

Sundaram et al. (arXiv 2507.14882) compare their searches with coefficients chosen by norms, and
find norms misleading: small groups can carry vital information.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rlprune.cost.budget import Allocation
    from rlprune.criteria.base import ChannelScores
    from rlprune.graph.group_graph import GroupGraph
    from rlprune.problem import Problem
    from rlprune.surgery.plan import Plan

# A group whose weights are all zero still keeps its floor; a share of the largest mean norm.
_LEAST_SHARE = 0.01


def norm_proportional(problem: Problem) -> Plan:
    """Decode the shares of the groups' L2 norms to the budget; all blocks stay."""
    return problem.decode(norm_shares(problem.graph, problem.scores("l2")))


def norm_shares(graph: GroupGraph, norms: ChannelScores) -> Allocation:
    """Return `kept_g = mean_g / max_h mean_h`, at least 0.01, and 1 for blocks.

    `mean_g` is the mean over the root channels of group g of their L2 norm over all coupled
    members. The decoder scales the fractions to the budget, so only their ratios matter.

    Args:
        graph: dependency groups.
        norms: one score per channel of every group.
    """
    means = np.array([float(norms[name].mean()) for name in graph.names])
    largest = means[~graph.is_block].max(initial=0.0)
    if largest == 0:
        return np.ones(len(means))
    return np.where(graph.is_block, 1.0, np.maximum(means / largest, _LEAST_SHARE))
