"""What the agent sees of a group: scale-free, network-independent, of one fixed length.

No layer index, no per-network min-max: the same value means the same thing in two networks
(AMC's state, He et al., ECCV 2018, cannot be compared across networks for these reasons).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rlprune.cost.budget import QUANTITIES
from rlprune.envs.layers import Layers, layers_of
from rlprune.graph.group_graph import Group, GroupGraph
from rlprune.problem import Problem

Features = npt.NDArray[np.float32]

BOUND = 5.0
"""Every entry of an observation is clipped to [-BOUND, BOUND]."""


@dataclass(frozen=True)
class Feature:
    """One entry of the observation."""

    name: str
    meaning: str


GROUP_FEATURES: tuple[Feature, ...] = (
    Feature("block", "1 for a residual block, which stays or goes as a whole; 0 for channels"),
    Feature("convolution", "share of convolutions among the layers of the group"),
    Feature("depthwise", "1 if one of its layers is a depthwise convolution"),
    Feature("linear", "share of linear layers among the layers of the group"),
    Feature("producers", "log2 of the layers that produce the channels, or that are in the block"),
    Feature("consumers", "log2 of the number of layers that read these channels"),
    Feature("normalised", "1 if a layer with one weight per channel, such as BatchNorm, is in it"),
    Feature("width", "log2 of the channels / 8; 0 for a block"),
    Feature("positions", "log2 of the output positions per image / 8, mean over its layers"),
    Feature("kernel", "log2 of the weights per pair of channels / 4, mean over its layers"),
    Feature("depth", "first operation of the group in forward order, 0 = first, 1 = last of all"),
    Feature("macs_share", "share of the MACs that go with the group"),
    Feature("params_share", "share of the parameters that go with the group"),
    Feature("macs_relative", "log of the MACs share over its mean over groups of channels"),
    Feature("params_relative", "log of the parameter share over its mean over groups of channels"),
    Feature("lowest_quarter", "share of the squared norm held by the lowest 25 % of units"),
    Feature("lowest_half", "share of the squared norm held by the lowest 50 % of units"),
    Feature("norm_variation", "coefficient of variation of the norms of units"),
    Feature("sensitivity", "log of the sensitivity over its mean over groups of channels"),
    Feature("sensitivity_rank", "rank of the sensitivity among its kind, 0 = least, 1 = most"),
    Feature("sensitivity_per_macs", "log of relative sensitivity over relative MACs share"),
    Feature("heuristic_kept", "fraction of channels that the heuristic's plan keeps"),
    Feature("floor", "fraction of channels at the floor"),
)
"""What is known of a group. Its layers are those that write or read its channels, or that lie in
the block; a unit is what is kept or removed as one: a channel, a set of tied ones, a head."""

BUDGET_FEATURES: tuple[Feature, ...] = (
    Feature("macs_budget", "-log of the kept MACs allowed; 0 = no limit"),
    Feature("params_budget", "-log of the kept parameters allowed; 0 = no limit"),
    Feature("latency_budget", "-log of the kept latency allowed; 0 = no limit"),
    Feature("heuristic_score", "log of the heuristic's score over the mean sensitivity"),
    Feature("groups", "log2 of the number of groups / 4"),
)

STEP_FEATURES: tuple[Feature, ...] = (
    Feature("previous_action", "the last action, 0 at the start"),
    Feature("mean_action", "mean of the actions so far, 0 at the start"),
    Feature("macs_decided", "share of the MACs that go with the groups decided so far, halved"),
)

OBSERVATION: tuple[Feature, ...] = (
    *GROUP_FEATURES,
    *STEP_FEATURES,
    *BUDGET_FEATURES,
    *(Feature(f"{f.name}_mean", f"mean over all groups: {f.meaning}") for f in GROUP_FEATURES),
    *(Feature(f"{f.name}_std", f"spread over all groups: {f.meaning}") for f in GROUP_FEATURES),
)
"""Every entry of the observation vector, in order."""


def group_features(problem: Problem) -> Features:
    """Return the static features of all groups; shape `(groups, len(GROUP_FEATURES))`."""
    graph = problem.graph
    macs, params = graph.removed_share(), _params_share(graph)
    sensitivity = problem.sensitivity.relative
    macs_relative = _log_relative(graph, macs)
    layers = layers_of(graph)
    columns = [
        graph.is_block,
        *_columns(_roles(one) for one in layers),
        np.where(graph.is_block, 0.0, np.log2(graph.widths / 8)),
        *_columns((one.log_positions / 8, one.log_kernel / 4, one.depth) for one in layers),
        macs,
        params,
        macs_relative,
        _log_relative(graph, params),
        *_columns(_norm_shares(group) for group in graph.groups),
        np.log(sensitivity),
        _rank(graph, sensitivity),
        np.log(sensitivity) - macs_relative,
        problem.reference.plan.widths / graph.widths,
        graph.floors / graph.widths,
    ]
    return _bounded(np.stack(columns, axis=1))


def budget_features(problem: Problem) -> Features:
    """Return what describes the budget and the network as a whole."""
    budget = problem.budget
    score = problem.reference.measurement.score + problem.sensitivity.negligible
    return _bounded(
        np.array(
            [
                *(-np.log(budget.limit(quantity)) for quantity in QUANTITIES),
                np.log(score / problem.sensitivity.mean),
                np.log2(len(problem.graph.groups) / 4),
            ]
        )
    )


def pooled(features: Features) -> Features:
    """Summarise the features of all groups: means, then standard deviations."""
    return np.concatenate([features.mean(0), features.std(0)]).astype(np.float32)


def _bounded(values: npt.NDArray[np.float64]) -> Features:
    return np.clip(np.nan_to_num(values), -BOUND, BOUND).astype(np.float32)


def _columns(rows: Iterable[Sequence[float]]) -> list[npt.NDArray[np.float64]]:
    return list(np.array(list(rows), dtype=np.float64).T)


def _log_relative(graph: GroupGraph, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    positive = np.maximum(shares, 1e-6)
    channels = positive[~graph.is_block]
    return np.asarray(np.log(positive / (channels if len(channels) else positive).mean()))


def _rank(graph: GroupGraph, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the rank of every group among those of its kind, from 0 to 1."""
    ranks = np.zeros(len(values))
    for kind in (graph.is_block, ~graph.is_block):
        ranks[kind] = values[kind].argsort().argsort() / max(1, kind.sum() - 1)
    return ranks


def _params_share(graph: GroupGraph) -> npt.NDArray[np.float64]:
    without = graph.widths - np.diag(graph.widths)
    return 1.0 - graph.params_of(without) / max(1, graph.params())


def _roles(layers: Layers) -> tuple[float, ...]:
    return (
        layers.convolutions,
        float(layers.depthwise),
        layers.linears,
        float(np.log2(max(1, layers.producers))),
        float(np.log2(max(1, layers.consumers))),
        float(layers.normalised),
    )


def _norm_shares(group: Group) -> tuple[float, ...]:
    atoms = np.asarray(group.atoms or range(group.width))
    squares = np.sort(np.bincount(atoms, weights=np.asarray(group.scores) ** 2))
    norms, total = np.sqrt(squares), max(float(squares.sum()), 1e-12)
    return (
        float(squares[: len(squares) // 4].sum()) / total,
        float(squares[: len(squares) // 2].sum()) / total,
        float(norms.std()) / max(float(norms.mean()), 1e-12),
    )
