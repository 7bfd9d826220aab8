"""One skeleton of a network, refilled for every plan: nothing is traced or copied as a whole.

Channels of every group are sorted once by norm, so that what a plan keeps is usually a prefix and a
smaller tensor is a view of the sorted one (the trick of NVIDIA's Model Optimizer, sort_parameters).
Where several groups meet in one dimension, or a plan keeps other channels, positions are selected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlprune.graph.group_graph import ALWAYS_KEPT, GroupGraph, Run
from rlprune.surgery.plan import Plan
from rlprune.surgery.replay import adapt, check_shapes, skeleton, tensors_of
from rlprune.surgery.sizes import set_sizes

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Slot:
    """Where a tensor that plans change is held."""

    module: nn.Module
    name: str
    tensor: Tensor
    is_parameter: bool
    cuts: tuple[tuple[int, tuple[Run, ...]], ...]


class Pool:
    """Makes pruned networks for evaluation, one at a time, in one module tree.

    Args:
        model: the dense network, which stays as it is; weights are sorted in a copy.
        graph: its dependency groups.

    Raises:
        PlanError: if the model's tensors do not have the shapes that the graph was traced with.
    """

    def __init__(self, model: nn.Module, graph: GroupGraph) -> None:
        tensors = tensors_of(model)
        check_shapes(tensors, graph)
        self._graph = graph
        self._ranks = _ranks(graph)
        self._orders: dict[tuple[Run, ...], Positions] = {}
        self._model = skeleton(model)
        self._pristine = [_state(module) for module in self._model.modules()]
        self._slots = _slots(self._model, graph, self._sorted(tensors))
        self._resized = _holders(self._model, self._slots)

    def materialise(self, plan: Plan) -> nn.Module:
        """Return the smaller network that a plan leaves; the next call overwrites it.

        The order of channels inside a layer may differ from that of `Plan.apply`; outputs do not,
        but for rounding. Parameters need no gradients and may share memory with those of the next
        network; buffers are copies.
        """
        for module, kind, state in self._pristine:
            module.__class__ = kind  # an earlier plan may have changed it
            vars(module).clear()
            vars(module).update(_copied(state))
        places = self._places(plan)
        chosen: dict[tuple[Run, ...], Positions | int] = {}
        for slot in self._slots:
            tensor = slot.tensor
            for dim, runs in slot.cuts:
                where = chosen.get(runs)
                if where is None:
                    where = chosen[runs] = _positions(runs, places)
                if isinstance(where, int):
                    tensor = tensor.narrow(dim, 0, where)
                else:
                    index = torch.from_numpy(where).to(tensor.device)
                    tensor = tensor.index_select(dim, index)
            _hold(slot, tensor)
        for module in self._resized:
            set_sizes(module)
        adapt(self._model, self._graph, plan.kept)
        return self._model

    def outputs(self, plan: Plan) -> dict[str, Positions]:
        """Return which outputs of the dense network's layers stay, in the order of `materialise`.

        Args:
            plan: whose network is meant.

        Returns:
            `{weight: positions in its first dimension}`, of those that plans cut there.
        """
        places = self._places(plan)
        found = {}
        for piece in self._graph.slices:
            if piece.dim == 0:
                where = _positions(piece.runs, places)
                order = self._order(piece.runs)
                found[piece.tensor] = order[:where] if isinstance(where, int) else order[where]
        return found

    def _order(self, runs: tuple[Run, ...]) -> Positions:
        if runs not in self._orders:
            self._orders[runs] = _concatenated(runs, [rank.argsort() for rank in self._ranks])
        return self._orders[runs]

    def _places(self, plan: Plan) -> list[Positions | int]:
        """Return which sorted channels of every group stay; their number if the first ones do."""
        return [
            _prefix(np.sort(rank[list(plan.kept[group.name])]))
            for group, rank in zip(self._graph.groups, self._ranks, strict=True)
        ]

    def _sorted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        result = {name: tensor.detach() for name, tensor in tensors.items()}
        for piece in self._graph.slices:
            order = torch.from_numpy(self._order(piece.runs))
            tensor = result[piece.tensor]
            result[piece.tensor] = tensor.index_select(piece.dim, order.to(tensor.device))
        return result


def _ranks(graph: GroupGraph) -> list[Positions]:
    """Return the place of every root channel of each group among the sorted ones.

    A group is sorted only where its order matters nowhere: where every tensor, and every size that
    a forward names, takes it as a whole.
    """
    everything = [
        *(piece.runs for piece in graph.slices),
        *(attribute.runs for attribute in graph.attributes),
        *(runs for one in graph.resizes for runs in one.sizes.values()),
    ]
    partly = {
        run[0]
        for runs in everything
        for run in runs
        if run[0] != ALWAYS_KEPT and run[1:] != (0, graph.groups[run[0]].width)
    }
    ranks = []
    for index, group in enumerate(graph.groups):
        order = np.arange(group.width)
        if index not in partly and group.kind == "channels" and group.step == 1 and group.scores:
            order = np.argsort(-np.asarray(group.scores), kind="stable")
        ranks.append(order.argsort())
    return ranks


def _prefix(kept: Positions) -> Positions | int:
    return len(kept) if not len(kept) or kept[-1] == len(kept) - 1 else kept


def _positions(runs: tuple[Run, ...], places: list[Positions | int]) -> Positions | int:
    """Return the kept positions of a dimension, or their number where they are the first ones."""
    parts: list[Positions] = []
    offset = 0
    for group, start, length in runs:
        if group == ALWAYS_KEPT:
            inside = np.arange(length)
        else:
            place = places[group]
            kept = np.arange(place) if isinstance(place, int) else place
            inside = kept[(kept >= start) & (kept < start + length)] - start
        parts.append(inside + offset)
        offset += length
    return _prefix(np.concatenate(parts))


def _concatenated(runs: tuple[Run, ...], orders: list[Positions]) -> Positions:
    """Return the order of a dimension, given that of the channels of each group."""
    parts: list[Positions] = []
    offset = 0
    for group, _, length in runs:
        whole = group != ALWAYS_KEPT and length == len(orders[group])
        parts.append((orders[group] if whole else np.arange(length)) + offset)
        offset += length
    return np.concatenate(parts)


def _slots(model: nn.Module, graph: GroupGraph, tensors: Mapping[str, Tensor]) -> list[_Slot]:
    cuts: dict[str, list[tuple[int, tuple[Run, ...]]]] = {}
    for piece in graph.slices:
        cuts.setdefault(piece.tensor, []).append((piece.dim, piece.runs))
    slots = []
    for prefix, module in model.named_modules():
        held = [(name, True) for name in module._parameters]
        held += [(name, False) for name in module._buffers]
        for name, is_parameter in held:
            full = f"{prefix}.{name}" if prefix else name
            # A forward may write into any buffer.
            if full in tensors and (full in cuts or not is_parameter):
                where = tuple(cuts.get(full, ()))
                slots.append(_Slot(module, name, tensors[full], is_parameter, where))
    return slots


def _hold(slot: _Slot, tensor: Tensor) -> None:
    if slot.is_parameter:
        slot.module._parameters[slot.name] = nn.Parameter(tensor, requires_grad=False)
    else:
        slot.module._buffers[slot.name] = tensor.clone()


def _holders(model: nn.Module, slots: list[_Slot]) -> list[nn.Module]:
    """Return the modules whose sizes may change, in their order.

    Those that hold a cut tensor, and their parents: some look at the tensors of their children.
    """
    cut = {id(slot.module) for slot in slots if slot.cuts}
    return [
        module
        for module in model.modules()
        if id(module) in cut or any(id(child) in cut for child in module.children())
    ]


def _state(module: nn.Module) -> tuple[nn.Module, type[nn.Module], dict[str, Any]]:
    return module, type(module), _copied(vars(module))


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a module's attributes, and one level down what holds its tensors and children."""
    inner = ("_parameters", "_buffers", "_modules")
    return {name: dict(v) if name in inner else v for name, v in state.items()}
