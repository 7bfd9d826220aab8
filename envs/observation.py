"""What the agent sees of a group: scale-free, network-independent, of one fixed length.

No layer index, no per-network min-max: the same value means the same thing in two networks
(AMC's state, He et al., ECCV 2018, cannot be compared across networks for these reasons).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rlprune.graph.group_graph import ALWAYS_KEPT, GroupGraph
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
    Feature("convolution", "share of producers and consumers that are convolutions"),
    Feature("depthwise", "1 if a depthwise convolution shrinks with the group"),
    Feature("linear", "share of producers and consumers that are linear layers"),
    Feature("producers", "log2 of the number of layers that produce these channels (residual > 0)"),
    Feature("consumers", "log2 of the number of layers that read these channels"),
    Feature("normalised", "1 if a BatchNorm layer shrinks with the group"),
    Feature("width", "log2 of the channels / 8"),
    Feature("positions", "log2 of the output positions per image / 8"),
    Feature("kernel", "log2 of the weights per pair of channels / 4, mean over layers"),
    Feature("depth", "position in forward order, 0 = first, 1 = last"),
    Feature("macs_share", "share of the MACs that go with the group"),
    Feature("params_share", "share of the parameters that go with the group"),
    Feature("macs_relative", "log of the MACs share over its mean over groups"),
    Feature("params_relative", "log of the parameter share over its mean over groups"),
    Feature("lowest_quarter", "share of the squared norm held by the lowest 25 % of channels"),
    Feature("lowest_half", "share of the squared norm held by the lowest 50 % of channels"),
    Feature("norm_variation", "coefficient of variation of the channel norms"),
    Feature("sensitivity", "log of the sensitivity over its mean over groups"),
    Feature("sensitivity_rank", "rank of the sensitivity, 0 = least, 1 = most"),
    Feature("sensitivity_per_macs", "log of relative sensitivity over relative MACs share"),
    Feature("heuristic_kept", "fraction of channels that the heuristic's plan keeps"),
    Feature("floor", "fraction of channels at the floor"),
)

BUDGET_FEATURES: tuple[Feature, ...] = (
    Feature("macs_budget", "-log of the kept MACs allowed; 0 = no limit"),
    Feature("params_budget", "-log of the kept parameters allowed; 0 = no limit"),
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
    macs_relative = _log_relative(macs)
    columns = [
        *_roles(graph),
        np.log2(graph.widths / 8),
        *_geometry(graph),
        np.linspace(0, 1, len(graph.groups)),
        macs,
        params,
        macs_relative,
        _log_relative(params),
        *_norm_shares(graph),
        np.log(sensitivity),
        sensitivity.argsort().argsort() / max(1, len(graph.groups) - 1),
        np.log(sensitivity) - macs_relative,
        problem.reference.plan.widths / graph.widths,
        graph.floors / graph.widths,
    ]
    return _bounded(np.stack(columns, axis=1))


def budget_features(problem: Problem) -> Features:
    """Return what describes the budget and the network as a whole."""
    limits = dict(problem.budget.limits)
    score = problem.reference.measurement.score + problem.sensitivity.negligible
    return _bounded(
        np.array(
            [
                -np.log(limits.get("macs", 1.0)),
                -np.log(limits.get("params", 1.0)),
                np.log(score / max(float(problem.sensitivity.scores.mean()), 1e-12)),
                np.log2(len(problem.graph.groups) / 4),
            ]
        )
    )


def pooled(features: Features) -> Features:
    """Summarise the features of all groups: means, then standard deviations."""
    return np.concatenate([features.mean(0), features.std(0)]).astype(np.float32)


def _bounded(values: npt.NDArray[np.float64]) -> Features:
    return np.clip(np.nan_to_num(values), -BOUND, BOUND).astype(np.float32)


def _log_relative(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    positive = np.maximum(shares, 1e-6)
    return np.asarray(np.log(positive / positive.mean()))


def _params_share(graph: GroupGraph) -> npt.NDArray[np.float64]:
    without = graph.widths - np.diag(graph.widths)
    return 1.0 - graph.params_of(without) / max(1, graph.params())


@dataclass
class _Roles:
    producers: int = 0
    consumers: int = 0
    convolutions: int = 0
    linears: int = 0
    depthwise: bool = False
    normalised: bool = False
    log_positions: float = 0.0
    log_kernel: float = 0.0

    @property
    def layers(self) -> int:
        return max(1, self.producers + self.consumers)


def _inspect(graph: GroupGraph) -> list[_Roles]:
    """Read each group's role from the shapes of the tensors that it controls."""
    roles = [_Roles() for _ in graph.groups]
    operations = {op.weight: op for op in graph.operations}
    for piece in graph.slices:
        shape = graph.tensors[piece.tensor].shape
        for g in {run[0] for run in piece.runs} - {ALWAYS_KEPT}:
            role = roles[g]
            role.normalised |= piece.tensor.endswith("running_mean")
            if piece.tensor not in operations:
                continue
            operation = operations[piece.tensor]
            kernel = int(np.prod(shape[2:]))
            role.convolutions += len(shape) > 2
            role.linears += len(shape) == 2
            role.depthwise |= operation.depthwise
            role.producers += piece.dim == 0
            role.consumers += piece.dim == 1
            role.log_positions += np.log2(operation.positions)
            role.log_kernel += np.log2(kernel)
    return roles


def _roles(graph: GroupGraph) -> list[npt.NDArray[np.float64]]:
    rows = [
        (
            role.convolutions / role.layers,
            float(role.depthwise),
            role.linears / role.layers,
            np.log2(max(1, role.producers)),
            np.log2(max(1, role.consumers)),
            float(role.normalised),
        )
        for role in _inspect(graph)
    ]
    return list(np.array(rows, dtype=np.float64).T)


def _geometry(graph: GroupGraph) -> list[npt.NDArray[np.float64]]:
    rows = [
        (role.log_positions / role.layers / 8, role.log_kernel / role.layers / 4)
        for role in _inspect(graph)
    ]
    return list(np.array(rows, dtype=np.float64).T)


def _norm_shares(graph: GroupGraph) -> list[npt.NDArray[np.float64]]:
    rows = []
    for group in graph.groups:
        norms = np.sort(np.asarray(group.norms, dtype=np.float64))
        squares = norms**2
        total = max(float(squares.sum()), 1e-12)
        rows.append(
            (
                squares[: group.width // 4].sum() / total,
                squares[: group.width // 2].sum() / total,
                norms.std() / max(float(norms.mean()), 1e-12),
            )
        )
    return list(np.array(rows, dtype=np.float64).T)
