"""Everyone who chooses allocations: the PPO agent, random search and the fixed allocations.

Import it as `rlprune.agents`.
"""

if __name__ != "rlprune.agents":
    raise ImportError("import rlprune.agents, not the folder agents/")

from rlprune.agents.base import Agent, Proposal
from rlprune.agents.bundle import load_agent
from rlprune.agents.fixed import FixedAgent
from rlprune.agents.ppo import PPOAgent
from rlprune.agents.random_search import RandomSearchAgent
from rlprune.agents.registry import STRATEGIES, agent_named, strategy_named
from rlprune.agents.training import train_agent

__all__ = [
    "STRATEGIES",
    "Agent",
    "FixedAgent",
    "PPOAgent",
    "Proposal",
    "RandomSearchAgent",
    "agent_named",
    "load_agent",
    "strategy_named",
    "train_agent",
]
