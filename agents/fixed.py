"""Allocations that need no search, as agents."""

from __future__ import annotations

import numpy as np

from rlprune.agents.base import Proposal
from rlprune.problem import Problem


class UniformAgent:
    """The same kept fraction everywhere."""

    name = "uniform"

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        """Decode equal fractions to the budget; nothing is evaluated."""
        return Proposal(problem.decode(np.ones(len(problem.graph.groups))), self.name)


class SensitivityAgent:
    """The measured-sensitivity allocation: the heuristic."""

    name = "sensitivity"

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        """Return the heuristic's plan; only profile evaluations are made."""
        return Proposal(problem.reference.plan, self.name)
