"""The searches that tests go through, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from rlprune.agents.base import Agent
from rlprune.agents.evolution import EvolutionAgent
from rlprune.agents.gradient import GradientAgent
from rlprune.agents.grid import GridAgent
from rlprune.agents.sampled import CMAESAgent, NSGA2Agent
from rlprune.data.splits import DataSplits
from rlprune.problem import Problem

SEARCHES: dict[str, Callable[[int], Agent]] = {
    "evolution": EvolutionAgent,
    "cmaes": CMAESAgent,
    "nsga2": NSGA2Agent,
    "grid": lambda _: GridAgent(),
    "grid-unscreened": lambda _: GridAgent(screened=False),
    "gradient": lambda _: GradientAgent(),
}


def dense_layers(data: DataSplits, *hidden: int, budget: str = "macs=0.5") -> Problem:
    """An untrained network of linear layers, one group for each hidden width."""
    widths = (64, *hidden)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip(widths, hidden, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(widths[-1], 10))
    return Problem.build(network.eval(), data, budget, measure_latency=False)
