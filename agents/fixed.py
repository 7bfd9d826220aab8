"""Allocations that need no search, as agents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rlprune.agents.base import Proposal
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

Rule = Callable[[Problem], Plan]
"""Returns a plan for a problem's budget; makes profile evaluations at most."""


@dataclass
class FixedAgent:
    """Proposes what a rule says, whatever the allowance of evaluations.

    Attributes:
        name: of the rule.
        rule: see `rlprune.allocate`.
    """

    name: str
    rule: Rule

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        """Return the rule's plan, unmeasured."""
        return Proposal(self.rule(problem), self.name)
