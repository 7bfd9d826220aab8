"""Operations that move elements without changing them: labels move the same way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from rlprune.graph.labels import (
    Factors,
    Shape,
    Ties,
    compress,
    elementwise,
    merge,
    varying,
)
from rlprune.graph.rules.call import (
    Call,
    rule,
    unknown,
)

_RESHAPES = {"view", "_unsafe_view", "reshape", "_reshape_alias"}


def _moved(call: Call, labels: Tensor, shape: Shape, position: int) -> list[Tensor]:
    """Run a movement of data on labels in the place of values."""
    args = list(call.args)
    args[position] = labels.expand(shape)
    func = torch.reshape if call.name in _RESHAPES else call.func
    moved = func(*args, **call.kwargs)
    return [compress(m) for m in pytree.tree_leaves(moved)]


@rule(
    "view _unsafe_view reshape _reshape_alias permute transpose t unsqueeze squeeze slice select "
    "split split_with_sizes chunk unbind flip roll repeat unfold pixel_shuffle pixel_unshuffle "
    "channel_shuffle native_channel_shuffle narrow diagonal movedim numpy_T index_select"
)
def _movement(call: Call) -> Sequence[Factors]:
    source = call.args[0]
    columns = []
    for labels in call.factors(0):
        call.ties.pick(labels, _picked_dims(call))
        if call.name.endswith("channel_shuffle"):
            call.ties.grids.append(labels.reshape(call.args[1], -1))
        columns.append(_moved(call, labels, tuple(source.shape), 0))
        for moved in columns[-1]:
            if not varying(moved):
                # a single position, or several of one unit: without it, nothing would be left
                call.ties.keep(moved, "it is used alone")
    return [_merged(call, [column[i] for column in columns]) for i in range(len(call.outputs))]


def _merged(call: Call, moved: Sequence[Tensor]) -> Factors:
    factors = merge(call.ties, _without_copies(call.ties, moved))
    call.ties.grids.extend(f for f in factors if len(varying(f)) > 1)
    return factors


def _without_copies(ties: Ties, moved: Sequence[Tensor]) -> list[Tensor]:
    """Drop the labels of copies that have been interleaved with channels: their number stays."""
    left = []
    for labels in moved:
        others = [other for other in moved if other is not labels]
        mixed = any(varying(labels) & varying(other) for other in others)
        if mixed and int(labels.reshape(-1)[0]) in ties.copies:
            ties.keep(labels, "its copies are interleaved with channels")
        else:
            left.append(labels)
    return left


def _picked_dims(call: Call) -> list[int]:
    """Dimensions along which the operation takes positions by their number."""
    ndim = call.args[0].ndim
    if call.name in ("select", "unbind", "index_select", "unfold"):
        return [call.argument(1, "dim", 0) % ndim - ndim]
    if call.name == "roll":
        dims = call.argument(2, "dims", ()) or range(ndim)
        return [dim % ndim - ndim for dim in dims]
    if call.name == "slice" and call.argument(4, "step", 1) != 1:
        return [call.argument(1, "dim", 0) % ndim - ndim]
    return [-1, -2] if call.name == "diagonal" else []


@rule("expand", unlabelled=True)
def _expand(call: Call) -> Sequence[Factors]:
    source, output = call.args[0], call.outputs[0]
    moved = [_moved(call, f, tuple(source.shape), 0)[0] for f in call.factors(0)]
    sizes = (1,) * (output.ndim - source.ndim) + tuple(source.shape)
    for dim, (before, after) in enumerate(zip(sizes, output.shape, strict=True)):
        if before == 1 < after:
            # copies of one another: as many as are needed
            copies = call.ties.fresh(after)
            call.ties.copies.update(copies.tolist())
            moved.append(copies.view([-1 if d == dim else 1 for d in range(output.ndim)]))
    return [merge(call.ties, moved)]


@rule("as_strided")
def _as_strided(call: Call) -> Sequence[Factors]:
    shape, factors = call.outputs[0].shape, call.factors(0)
    fits = all(
        f.ndim == len(shape) and all(n in (1, size) for n, size in zip(f.shape, shape, strict=True))
        for f in factors
    )
    # PyTorch restrides outputs in place without moving anything; other uses are not followed
    return [factors] if fits else unknown(call)


@rule("index")
def _index(call: Call) -> Sequence[Factors]:
    source, indices = call.args[0], call.args[1]
    dims: list[int] = []
    for index in indices:
        masks = isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
        places = range(len(dims), len(dims) + (index.ndim if masks else 1))
        dims += [place if index is not None else -1 for place in places]
    taken = [dim - source.ndim for dim in dims if dim >= 0]
    moved = []
    for labels in call.factors(0):
        call.ties.pick(labels, taken)
        moved.append(compress(call.func(labels.expand(source.shape), indices)))
        if not varying(moved[-1]):
            call.ties.keep(moved[-1], "it is used alone")
    return [merge(call.ties, moved)]


@rule("glu")
def _glu(call: Call) -> Sequence[Factors]:
    dim = call.argument(1, "dim", -1)
    shape = tuple(call.outputs[0].shape)
    halves = [
        [half for half in labels.expand(call.args[0].shape).chunk(2, dim)]
        for labels in call.factors(0)
    ]
    operands = [(tuple(compress(h[i]) for h in halves), shape) for i in (0, 1)]
    return [elementwise(call.ties, operands)]


@rule("constant_pad_nd reflection_pad1d reflection_pad2d replication_pad2d reflection_pad3d")
def _pad(call: Call) -> Sequence[Factors]:
    source, padding = call.args[0], call.args[1]
    touched = {-1 - i // 2 for i, size in enumerate(padding) if size}
    result = []
    for labels in call.factors(0):
        if not varying(labels) & touched:
            result.append(labels)
        elif call.name == "constant_pad_nd":
            # label 0 is ALWAYS: what is padded along channels stays
            expanded = labels.expand(source.shape)
            result.append(compress(torch.constant_pad_nd(expanded, padding, 0)))
        else:
            along = sorted(varying(labels) & touched)
            result.append(call.ties.tie_along(labels, along, f"{call.name} copies its channels"))
    return [merge(call.ties, result)]


@rule("cat stack")
def _cat(call: Call) -> Sequence[Factors]:
    parts = [t for t in call.args[0] if t.ndim > 1 or t.numel()]
    dim = call.argument(1, "dim", 0)
    ndim = call.outputs[0].ndim
    dim = dim % ndim - ndim
    labelled: list[list[Tensor]] = []
    others: list[tuple[Factors, Shape]] = []
    for part in parts:
        factors: Factors = call.lookup(part)
        shape = tuple(part.shape)
        if call.name == "stack":
            factors = tuple(f.unsqueeze(dim) for f in factors)
            shape = tuple(part.unsqueeze(dim).shape)
        along = [f for f in factors if dim in varying(f)]
        single = [
            call.ties.tie_along(f, sorted(varying(f) - {dim}), "its channels are concatenated")
            for f in along
        ]
        labelled.append(single)
        whole = tuple(f for f in factors if dim not in varying(f))
        others.append((whole, tuple(1 if d == dim + ndim else s for d, s in enumerate(shape))))
    result = list(elementwise(call.ties, others, "a tensor beside it in a concatenation"))
    if any(labelled):
        pieces = []
        for single, part in zip(labelled, parts, strict=True):
            size = 1 if call.name == "stack" else part.shape[dim]
            line = [1] * ndim
            line[dim] = size
            pieces.append(single[0].expand(line) if single else torch.zeros(line).long())
        result.append(compress(torch.cat(pieces, dim)))
    return [merge(call.ties, result)]


@rule("embedding")
def _embedding(call: Call) -> Sequence[Factors]:
    result = []
    for labels in call.factors(0):
        if -2 in varying(labels):
            call.ties.keep(labels, "an embedding is looked up by position")
        else:
            result.append(labels.reshape(-1).view(*[1] * (call.outputs[0].ndim - 1), -1))
    return [tuple(result)]
