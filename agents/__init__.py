"""Everyone who chooses allocations: the PPO agent, random search and the fixed allocations.

Import it as `rlprune.agents`.
"""

if __name__ != "rlprune.agents":
    raise ImportError("import rlprune.agents, not the folder agents/")

from rlprune.agents.base import Agent, Proposal
from rlprune.agents.bundle import load_agent
from rlprune.agents.fixed import SensitivityAgent, UniformAgent
from rlprune.agents.ppo import PPOAgent
from rlprune.agents.random_search import RandomSearchAgent
from rlprune.agents.training import train_agent

__all__ = [
    "Agent",
    "PPOAgent",
    "Proposal",
    "RandomSearchAgent",
    "SensitivityAgent",
    "UniformAgent",
    "load_agent",
    "train_agent",
]
