"""Every entry of the observation vector, in order, and the arrays that fill it.

Scale-free, independent of the network and of one fixed length: no layer index, no per-network
min-max, so that the same value means the same thing in two networks (AMC's state, He et al., ECCV
2018, cannot be compared across networks for these reasons).
"""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
from gymnasium import spaces

from rlprune.envs.observation.cost import COST, cost
from rlprune.envs.observation.dynamics import DYNAMICS, dynamics
from rlprune.envs.observation.feature import Feature, Features, bounded
from rlprune.envs.observation.layers import layers_of
from rlprune.envs.observation.local import LOCAL, local
from rlprune.envs.observation.network import NETWORK, network
from rlprune.envs.observation.norms import NORMS, norms
from rlprune.envs.observation.sensitivity import SENSITIVITY, sensitivity
from rlprune.envs.observation.structure import STRUCTURE, structure
from rlprune.problem import Problem

NEIGHBOURS = 2
"""Groups on either side that are seen with the one that is decided."""

GROUP: tuple[Feature, ...] = (*STRUCTURE, *COST, *NORMS, *SENSITIVITY, *LOCAL, *DYNAMICS)
"""What is known of a group."""

STEP: tuple[Feature, ...] = (
    Feature("previous_action", "the last action, 0 at the start", "action", -1, 1),
    Feature("mean_action", "mean of the actions so far, 0 at the start", "action", -1, 1),
    Feature("macs_decided", "MACs that go with the groups decided so far, halved", "share", 0, 1),
)
"""What changes from step to step."""

_NEAR = [i for i in range(-NEIGHBOURS, NEIGHBOURS + 1) if i]


def _of_all(statistic: str) -> tuple[Feature, ...]:
    return tuple(
        replace(f, name=f"{f.name}_{statistic}", meaning=f"{statistic} over groups: {f.meaning}")
        for f in GROUP
    )


def _of_neighbours() -> tuple[Feature, ...]:
    """Zeros stand for a neighbour that is not there."""
    return tuple(
        replace(
            feature,
            name=f"{feature.name}{place:+d}",
            meaning=f"of the group at {place:+d}: {feature.meaning}",
            low=min(feature.low, 0.0),
            high=max(feature.high, 0.0),
        )
        for place in _NEAR
        for feature in GROUP
    )


OBSERVATION: tuple[Feature, ...] = (
    *GROUP,
    *_of_neighbours(),
    *STEP,
    *NETWORK,
    *_of_all("mean"),
    *_of_all("std"),
)
"""Every entry of the observation vector, in order."""

GROUPS_SEEN = 1 + 2 * NEIGHBOURS
"""Blocks of `len(GROUP)` entries that an observation begins with: the group, its neighbours."""

_STEPS_FROM = GROUPS_SEEN * len(GROUP)
STEP_AT = slice(_STEPS_FROM, _STEPS_FROM + len(STEP))
"""Where `STEP` stands in an observation."""

ACTIONS_AT = slice(_STEPS_FROM, _STEPS_FROM + 2)
"""Where that part of it stands which the actions so far decide."""

MEASURED_AT = tuple(GROUP.index(one) for one in (STRUCTURE[0], *LOCAL))
"""Where an observation says what was measured of the group, and whether it is a block."""

_MACS_SHARE = GROUP.index(COST[0])


# Many environments walk through one problem.
_SEEN: WeakKeyDictionary[Problem, Features] = WeakKeyDictionary()


def observation_space() -> spaces.Box:
    """Return the space of observations: each entry has its own range."""
    low, high = np.array([(one.low, one.high) for one in OBSERVATION], dtype=np.float32).T
    return spaces.Box(low, high, dtype=np.float32)


def group_features(problem: Problem) -> Features:
    """Return what is known of all groups; shape `(groups, len(GROUP))`."""
    graph = problem.graph
    layers = layers_of(graph)
    columns = [
        *structure(graph, layers),
        *cost(problem.costs),
        *norms(graph),
        *sensitivity(problem),
        *local(problem),
        *dynamics(graph, layers, problem.dynamics),
    ]
    return bounded(columns, GROUP)


def network_features(problem: Problem) -> Features:
    """Return what is known of the network and the budget; shape `(len(NETWORK),)`."""
    return bounded(network(problem), NETWORK)


def observations(problem: Problem) -> Features:
    """Return what is seen of every group before the first step; computed once for a problem.

    Returns:
        Shape `(groups, len(OBSERVATION))`; zeros at `ACTIONS_AT`.
    """
    if problem not in _SEEN:
        _SEEN[problem] = stacked(group_features(problem), network_features(problem))
    return _SEEN[problem]


def stacked(groups: Features, of_network: Features) -> Features:
    """Return observations made of features, as `observations` does."""
    count = len(groups)
    padded = np.pad(groups, ((NEIGHBOURS, NEIGHBOURS), (0, 0)))
    near = [padded[NEIGHBOURS + place :][:count] for place in _NEAR]
    constant = np.concatenate([of_network, groups.mean(0), groups.std(0)])
    shares = groups[:, _MACS_SHARE]
    decided = np.minimum((shares.cumsum() - shares) / 2, 1.0)
    steps = np.stack([np.zeros(count), np.zeros(count), decided], axis=1)
    rows = [groups, *near, steps, np.tile(constant, (count, 1))]
    return np.concatenate(rows, axis=1).astype(np.float32)
