"""The heuristic, where an agent was not made for what it is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from rlprune.agents.base import WORSE, Agent, Proposal
from rlprune.agents.chosen import agent_for
from rlprune.agents.evolution import EvolutionAgent
from rlprune.agents.ppo import PPOAgent
from rlprune.errors import UncoveredError
from rlprune.problem import Problem


class RankingAgent(Agent, Protocol):
    """An agent that ranks channels in its own way."""

    def ranked(self, problem: Problem) -> Problem:
        """Return the problem as the agent knows it."""


@dataclass(frozen=True)
class FallbackAgent:
    """A trained agent; the heuristic where that is better, evolved where a request is not covered.

    Attributes:
        agent: whom to ask, or why it cannot be asked at all.
        seed: of the evolution.
    """

    agent: RankingAgent | UncoveredError
    seed: int = 0
    name = PPOAgent.name

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        """Return the agent's proposal, or say why it has none."""
        try:
            if isinstance(self.agent, UncoveredError):
                raise self.agent
            proposal = self.agent.propose(problem, evaluations)
        except UncoveredError as error:
            instead = EvolutionAgent(self.seed).propose(problem, evaluations)
            whose = "evolution from the heuristic's plan" if evaluations else "the heuristic"
            return replace(instead, method=self.name, fallback=f"{error}; {whose} answered")
        heuristic = self.agent.ranked(problem).reference
        if problem.evaluate(proposal.plan).score <= heuristic.score:
            return proposal
        others = (proposal.plan, *proposal.runners_up)
        return replace(proposal, plan=heuristic.plan, fallback=WORSE, runners_up=others)


def agent_or_heuristic(text: str, seed: int = 0) -> Agent:
    """Return what `agent_for` does; trained agents fall back where they do not cover a request.

    Args:
        text: see `agent_for`.
        seed: of whatever is drawn.

    Raises:
        AgentError: if there is no such agent, or it is damaged.
    """
    try:
        agent = agent_for(text, seed)
    except UncoveredError as error:
        return FallbackAgent(error, seed)
    return FallbackAgent(agent, seed) if isinstance(agent, PPOAgent) else agent
