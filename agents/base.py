"""What an agent is: something that proposes a plan for a problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from rlprune.problem import Problem
from rlprune.surgery.plan import Plan


@dataclass(frozen=True)
class Proposal:
    """The plan that an agent chose.

    Attributes:
        plan: meets the problem's budget.
        method: name of the agent.
        fallback: whether the agent gave up its own plan for the heuristic's.
        history: best search score after each evaluation (a loss); empty without evaluations.
    """

    plan: Plan
    method: str
    fallback: bool = False
    history: tuple[float, ...] = field(default=())


class Agent(Protocol):
    """Chooses a plan for a problem with at most so many evaluations on the search split."""

    name: str

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        """Return the best plan found; profile evaluations are counted apart."""
