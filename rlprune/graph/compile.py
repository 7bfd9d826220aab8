"""Compile traced groups into slices: who controls each position of each tensor dimension."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from rlprune.graph.group_graph import ALWAYS_KEPT, Group, Slice
from rlprune.graph.members import input_dims, output_dims, unsupported_reason

Claims = dict[tuple[str, int], dict[int, int]]

FEW = 8


@dataclass(frozen=True)
class RawItem:
    """One layer of a traced group: which of its channels follow which root channels."""

    layer: str
    module: nn.Module
    is_output: bool
    is_sink: bool
    positions: tuple[int, ...]
    roots: tuple[int | None, ...]


@dataclass(frozen=True)
class RawGroup:
    """A traced group and a way to ask what else goes when some root channels go."""

    name: str
    width: int
    items: Sequence[RawItem]
    ask: Callable[[Sequence[int]], Sequence[RawItem]]


def compile_groups(
    model: nn.Module, raw_groups: Sequence[RawGroup], refused: Mapping[str, str]
) -> tuple[list[Group], list[Slice], dict[str, str]]:
    """Return the prunable groups, the slices that they control and `{name: reason}` of the rest.

    Args:
        model: that was traced.
        raw_groups: its groups in forward order.
        refused: `{name: reason}` of groups that are to be left out for other reasons.
    """
    left_out: dict[str, str] = {}
    groups: list[Group] = []
    control: dict[tuple[str, int], dict[int, tuple[int, int]]] = defaultdict(dict)
    shared, tensors = _shared_layers(model), model.state_dict()
    for raw in raw_groups:
        claims = _claims(raw.items)
        reason = (
            refused.get(raw.name) or _refusal(raw, shared) or _conflict(claims, control, tensors)
        )
        atoms = None if reason else _atoms(raw, claims)
        if atoms is not None:
            reason = _unequal(claims, atoms)
        if reason or atoms is None:
            left_out[raw.name] = reason or ""
            continue
        index, step = len(groups), raw.width // (int(atoms.max()) + 1)
        for key, positions in claims.items():
            control[key].update({p: (index, root) for p, root in positions.items()})
        groups.append(
            Group(
                name=raw.name,
                width=raw.width,
                members=_members(raw.items),
                step=step,
                atoms=tuple(atoms.tolist()) if step > 1 else (),
            )
        )
    slices = [
        Slice(tensor=name, dim=dim, runs=_runs(positions, tensors[name].shape[dim]))
        for (name, dim), positions in control.items()
    ]
    return groups, slices, left_out


def _claims(items: Sequence[RawItem]) -> Claims:
    claims: Claims = defaultdict(dict)
    for item in items:
        if not isinstance(item.module, nn.Module):
            continue
        dims = output_dims(item.module) if item.is_output else input_dims(item.module)
        for tensor, dim in dims.items():
            name = f"{item.layer}.{tensor}" if item.layer else tensor
            for position, root in zip(item.positions, item.roots, strict=True):
                if root is not None:
                    claims[name, dim].setdefault(position, root)
    return claims


def _members(items: Sequence[RawItem]) -> tuple[str, ...]:
    names = dict.fromkeys(
        item.layer if output_dims(item.module) and item.is_output else f"{item.layer} (in)"
        for item in items
        if isinstance(item.module, nn.Module)
        and (output_dims(item.module) if item.is_output else input_dims(item.module))
    )
    return tuple(names)


def _refusal(raw: RawGroup, shared: dict[str, str]) -> str | None:
    for item in raw.items:
        mixes = isinstance(item.module, nn.Module) and bool(input_dims(item.module))
        if item.is_sink and (item.is_output or not mixes):
            return "it is the output of the model"
        reason = unsupported_reason(item.module)
        if reason is not None:
            return f"{reason}: {item.layer or type(item.module).__name__}"
        if item.layer in shared:
            return f"{item.layer!r} shares a weight with {shared[item.layer]!r}"
        if any(root is None for root in item.roots):
            return f"torch-pruning cannot say which channels of {item.layer!r} belong together"
    return None


def _shared_layers(model: nn.Module) -> dict[str, str]:
    """Return `{layer: other layer}` for layers that hold the same parameter."""
    owners: dict[int, str] = {}
    shared: dict[str, str] = {}
    for layer, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            other = owners.setdefault(id(parameter), layer)
            if other != layer:
                shared[layer], shared[other] = other, layer
    return shared


def _conflict(
    claims: Claims,
    control: dict[tuple[str, int], dict[int, tuple[int, int]]],
    tensors: Mapping[str, Tensor],
) -> str | None:
    for (tensor, dim), positions in claims.items():
        if max(positions) >= tensors[tensor].shape[dim]:
            return f"its channels are summed or broadcast before or after {tensor!r}"
        if any(position in control[tensor, dim] for position in positions):
            return f"another group already controls dimension {dim} of {tensor!r}"
    return None


def _unequal(claims: Claims, atoms: npt.NDArray[np.int64]) -> str | None:
    sizes = np.bincount(atoms)
    if len(set(sizes.tolist())) > 1:
        return "its channels are tied in sets of unequal size"
    for (tensor, _), positions in claims.items():
        counts = np.bincount(atoms[list(positions.values())], minlength=len(sizes))
        if len(set(counts.tolist())) > 1:
            return f"its channels do not weigh the same in {tensor!r}"
    return None


def _atoms(raw: RawGroup, claims: Claims) -> npt.NDArray[np.int64]:
    """Number the sets of root channels that can only go together (torch-pruning hides them).

    torch-pruning reports a group with all its indices present, so ties inside the group show only
    when part of it is asked for: a random half must come back as that half and nothing more.
    """
    half = np.sort(np.random.default_rng(0).permutation(raw.width)[: max(1, raw.width // 2)])
    # Half of few channels may consist of whole sets by chance; few are quickly asked one by one.
    if raw.width > FEW and _touched(raw, claims, half.tolist()) <= set(half.tolist()):
        return np.arange(raw.width)
    edges = [
        (channel, other)
        for channel in range(raw.width)
        for other in _touched(raw, claims, [channel])
    ]
    rows, columns = zip(*edges, strict=True)
    adjacency = coo_array((np.ones(len(edges)), (rows, columns)), shape=(raw.width, raw.width))
    _, labels = connected_components(adjacency, directed=False)
    return np.asarray(labels, dtype=np.int64)


def _touched(raw: RawGroup, claims: Claims, roots: Sequence[int]) -> set[int]:
    answer = _claims(raw.ask(roots))
    return {
        claims[key][position] for key, positions in answer.items() for position in positions
    } | set(roots)


def _runs(positions: dict[int, tuple[int, int]], size: int) -> tuple[tuple[int, int, int], ...]:
    controllers = [positions.get(p, (ALWAYS_KEPT, 0)) for p in range(size)]
    runs: list[tuple[int, int, int]] = []
    # Positions whose root channel advances in step with them form one run.
    keyed = groupby(
        enumerate(controllers),
        key=lambda pc: (pc[1][0], None if pc[1][0] == ALWAYS_KEPT else pc[1][1] - pc[0]),
    )
    for (group, _), members in keyed:
        chunk = list(members)
        runs.append((group, chunk[0][1][1], len(chunk)))
    return tuple(runs)
