"""Prune for real, once, and leave out what does not behave as traced.

Removing channels is exact if the network then computes what the dense network computes when it
ignores them. All groups are tried together; only if that fails are the culprits searched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from rlprune.calling import Inputs, call, take, tensors_in
from rlprune.errors import FOREIGN_ERRORS, first_line
from rlprune.graph.group_graph import Group, GroupGraph
from rlprune.surgery.replay import Kept, install, materialise, skeleton, tensors_of

_Tree = TypeVar("_Tree")

# Relative error allowed, well above rounding and well below what any real mistake makes.
_ALLOWED = {torch.float64: 1e-6, torch.float32: 1e-4}
# Another one than those that sizes were learned from.
_PATTERN = 7


class Verification:
    """Compares pruned networks with the dense one on one sample, in double precision if it can be.

    Args:
        model: the dense network, in eval mode.
        inputs: a small batch; its first sample is used.
    """

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        self._model = model
        self._inputs = take(inputs, slice(0, 1))
        self._dtype = torch.float64
        try:
            self._dense = self._masked({})
        except FOREIGN_ERRORS:  # not every device and not every forward takes double precision
            self._dtype = torch.float32
            self._dense = self._masked({})

    def holds(self, graph: GroupGraph) -> bool:
        """Whether all groups can be pruned as traced."""
        return not any(self._reason(graph, part) for part in _parts(graph))

    def unsound(self, graph: GroupGraph) -> dict[str, str]:
        """Return `{group: reason}` of the groups that cannot be pruned as traced."""
        found: dict[str, str] = {}
        for part in _parts(graph):
            found |= self._culprits(graph, part)
        return found

    def _culprits(self, graph: GroupGraph, groups: Sequence[Group]) -> dict[str, str]:
        """Search by halves: few groups are wrong, if any."""
        reason = self._reason(graph, groups)
        if not reason:
            return {}
        if len(groups) == 1:
            return {groups[0].name: reason}
        middle = len(groups) // 2
        halves = (groups[:middle], groups[middle:])
        found = self._culprits(graph, halves[0]) | self._culprits(graph, halves[1])
        return found or {group.name: f"{reason} (together with others)" for group in groups}

    @torch.inference_mode()
    def _masked(self, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """Run the dense network with other weights."""
        network = skeleton(self._model)
        install(network, self._cast({**tensors_of(self._model), **weights}))
        return tensors_in(call(network, self._cast(self._inputs)))

    @torch.inference_mode()
    def _pruned(self, graph: GroupGraph, kept: Kept) -> list[Tensor]:
        small = materialise(self._model, graph, kept).to(self._dtype)
        return tensors_in(call(small, self._cast(self._inputs)))

    def _reason(self, graph: GroupGraph, groups: Sequence[Group]) -> str:
        # with single units, a number that is divided by their number cannot be right by chance
        exact = not any(group.statistic or group.kind == "block" for group in groups)
        patterns = [partly_kept(graph, groups, _PATTERN, last) for last in (0, 1)[: 1 + exact]]
        return next(filter(None, (self._mistake(graph, groups, kept) for kept in patterns)), "")

    def _mistake(self, graph: GroupGraph, groups: Sequence[Group], kept: Kept) -> str:
        try:
            pruned = self._pruned(graph, kept)
        except FOREIGN_ERRORS as error:
            return f"the model does not run without it: {first_line(error)}"
        if [t.shape for t in pruned] != [t.shape for t in self._dense]:
            return "the shape of the model's output depends on it"
        if any(group.statistic or group.kind == "block" for group in groups):
            finite = all(bool(t.isfinite().all()) for t in pruned if t.is_floating_point())
            return "" if finite else "the model returns NaN or infinity without it"
        ignoring = self._masked(masked_weights(self._model, graph, kept))
        for ours, masked in zip(pruned, ignoring, strict=True):
            if not _most(ours - masked) <= _ALLOWED[self._dtype] * _most(masked):
                return "an operation outside the layers depends on the number of its channels"
        return ""

    def _cast(self, value: _Tree) -> _Tree:
        return cast(
            _Tree,
            tree_map(lambda t: t.to(self._dtype) if t.is_floating_point() else t, value),
        )


def _names(model: nn.Module) -> list[str]:
    """Names of all tensors, one of each that has several."""
    return [*dict(model.named_parameters()), *dict(model.named_buffers())]


def _parts(graph: GroupGraph) -> list[list[Group]]:
    """Groups that are checked alike: exactly, roughly, and blocks."""
    parts = [
        [g for g in graph.groups if g.kind != "block" and not g.statistic],
        [g for g in graph.groups if g.kind != "block" and g.statistic],
        [g for g in graph.groups if g.kind == "block"],
    ]
    return [part for part in parts if part]


def partly_kept(graph: GroupGraph, groups: Sequence[Group], seed: int, last: int = 0) -> Kept:
    """Keep another random part of every given group, and all of the rest.

    Given blocks are removed. With `last`, so many units at the end are kept instead: a slice that
    begins in front then holds none, which no size that a forward names is by chance.
    """
    rng = np.random.default_rng(seed)
    kept = {group.name: tuple(range(group.width)) for group in graph.groups}
    for group in groups:
        atoms = group.atom_of
        units = int(atoms.max()) + 1
        least = min(2, units) if group.statistic else 1  # one channel has no spread
        share = int(rng.integers(least, max(least + 1, units)))
        chosen = np.arange(units)[-last:] if last else rng.permutation(units)[:share]
        left = [] if group.kind == "block" else np.flatnonzero(np.isin(atoms, chosen)).tolist()
        kept[group.name] = tuple(left)
    return kept


def masked_weights(model: nn.Module, graph: GroupGraph, kept: Kept) -> dict[str, Tensor]:
    """Return the weights that read removed channels, zero where they read them."""
    tensors = {name: tensor for name, tensor in tensors_of(model).items() if name in _names(model)}
    reads = {(piece.tensor, piece.dim) for piece in graph.slices if piece.reads}
    masked: dict[str, Tensor] = {}
    for name, dims in graph.kept_positions(kept).items():
        for dim, positions in dims.items():
            if name not in tensors or (name, dim) not in reads:
                continue
            weight = masked.get(name, tensors[name].detach())
            mask = torch.zeros(weight.shape[dim], dtype=weight.dtype, device=weight.device)
            mask[torch.from_numpy(positions)] = 1
            masked[name] = weight * mask.view([-1 if d == dim else 1 for d in range(weight.ndim)])
    return masked


def _most(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0
