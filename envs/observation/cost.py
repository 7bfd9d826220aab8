"""What goes with a group: MACs, parameters, measured latency."""

from __future__ import annotations

import numpy as np

from rlprune.cost.costs import Costs
from rlprune.envs.observation.feature import Column, Feature, log_relative, nats, share

COST: tuple[Feature, ...] = (
    share("macs_share", "of the MACs that go with the group"),
    share("params_share", "of the parameters that go with the group"),
    Feature(
        "latency_share", "of the latency that goes with the group; 0 if not charged", "share", -1, 1
    ),
    nats("macs_relative", "log of the MACs share over its mean over groups of channels"),
    nats("params_relative", "log of the parameter share over its mean over groups of channels"),
)
"""What a group costs: the difference that it makes to remove all of its channels, or the block."""


def cost(costs: Costs) -> list[Column]:
    """Return a column for each of `COST`."""
    graph, nothing = costs.graph, np.zeros_like(costs.graph.widths)
    macs = graph.removed_share()
    params = 1.0 - costs.kept_if_each("params", graph.widths, nothing)
    latency = 0.0 * macs
    if costs.latency is not None:
        latency = 1.0 - costs.kept_if_each("latency", graph.widths, nothing)
    return [macs, params, latency, log_relative(graph, macs), log_relative(graph, params)]
