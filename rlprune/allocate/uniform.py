"""The same kept fraction everywhere, with channels ranked as the graph says or by a criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rlprune.problem import Problem
    from rlprune.surgery.plan import Plan


def uniform(problem: Problem) -> Plan:
    """Decode equal fractions to the budget; all blocks stay."""
    return problem.decode(np.ones(len(problem.graph.groups)))


def local(problem: Problem, criterion: str) -> Plan:
    """Decode equal fractions, and keep the best channels of each group by a criterion.

    Raises:
        CriterionError: if the criterion cannot be computed here.
        UnknownNameError: if there is no such criterion.
    """
    return problem.decode(np.ones(len(problem.graph.groups)), problem.scores(criterion))
