"""Make trained networks smaller and faster: an RL agent chooses how much of each layer to keep.

    graph = rlprune.trace(model, example_input)
    plan = rlprune.Plan.uniform(graph, kept=0.5)
    small = plan.apply(model)

The library itself knows nothing of reinforcement learning; `rlprune.envs` is the environment and
`rlprune.agents` everyone who chooses allocations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlprune.api import Pruned, prune
    from rlprune.cost.budget import Budget
    from rlprune.graph.group_graph import GroupGraph
    from rlprune.graph.trace import trace
    from rlprune.problem import Problem
    from rlprune.surgery.plan import Plan
    from rlprune.surgery.restore import restore
    from rlprune.surgery.storage import load_plan
    from rlprune.surgery.storage import load_pruned as load

_HOMES = {
    "Budget": ("rlprune.cost.budget", "Budget"),
    "GroupGraph": ("rlprune.graph.group_graph", "GroupGraph"),
    "Plan": ("rlprune.surgery.plan", "Plan"),
    "Problem": ("rlprune.problem", "Problem"),
    "Pruned": ("rlprune.api", "Pruned"),
    "load": ("rlprune.surgery.storage", "load_pruned"),
    "load_plan": ("rlprune.surgery.storage", "load_plan"),
    "prune": ("rlprune.api", "prune"),
    "restore": ("rlprune.surgery.restore", "restore"),
    "trace": ("rlprune.graph.trace", "trace"),
}

__all__ = [
    "Budget",
    "GroupGraph",
    "Plan",
    "Problem",
    "Pruned",
    "load",
    "load_plan",
    "prune",
    "restore",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Import on first use: loading a saved model needs neither a tracer nor an agent."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'rlprune' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
