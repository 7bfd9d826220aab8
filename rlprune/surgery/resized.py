"""Calls that name sizes: `x.reshape(b, n, 3, heads, dim)`, `x.split([64, 64])`, `x[:, :64]`.

A forward that names sizes computes them from attributes, from its input's shape or writes them as
numbers; after surgery some of them are wrong. Such calls are recognised by where in the source they
are made, so that a pruned module can be told, call by call, which sizes its tensors have now.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Sizes = dict[int, int]
"""`{slot: size}`: the output dimension of a reshape, the part of a split, the bound of a slice."""

_RESHAPES: set[Any] = {Tensor.view, Tensor.reshape, torch.reshape, Tensor.expand}
_UNFLATTENS: set[Any] = {Tensor.unflatten, torch.unflatten}
_SPLITS: set[Any] = {Tensor.split, torch.split, Tensor.split_with_sizes, torch.split_with_sizes}
_CHUNKS: set[Any] = {Tensor.chunk, torch.chunk}
_NARROWS: set[Any] = {Tensor.narrow, torch.narrow}
_ITEMS: set[Any] = {Tensor.__getitem__}
_NAMING = _RESHAPES | _UNFLATTENS | _SPLITS | _CHUNKS | _NARROWS | _ITEMS

_BOUNDS_PER_DIM = 2

# Frames between a call and the code that made it.
_OWN = ("torch.", "rlprune.surgery.resized", "rlprune.graph.")


def names_sizes(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call to a PyTorch function names sizes that surgery may change."""
    if func not in _NAMING or not args or not isinstance(args[0], Tensor):
        return False
    if func in _RESHAPES:
        return len(args) > 1 and not isinstance(args[1], torch.dtype)
    return func not in _ITEMS or any(isinstance(i, slice) for i in _indices(args[1]))


def requested(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[int, Any]:
    """Return the sizes that a call names, as given, by slot; -1 and None are left out."""
    source = args[0]
    if func in _RESHAPES:
        sizes = _flat(args[1:], kwargs.get("shape", kwargs.get("size")))
        return {slot: size for slot, size in enumerate(sizes) if not _is(size, -1)}
    if func in _UNFLATTENS:
        dim = _argument(args, kwargs, 1, "dim") % source.ndim
        sizes = _argument(args, kwargs, 2, "sizes")
        return {dim + i: size for i, size in enumerate(sizes) if not _is(size, -1)}
    if func in _SPLITS | _CHUNKS:
        return dict(enumerate(_parts(func, args, kwargs)))
    if func in _NARROWS:
        dim = _argument(args, kwargs, 1, "dim") % source.ndim
        start = _argument(args, kwargs, 2, "start")
        stop = start + _argument(args, kwargs, 3, "length")
        return {_BOUNDS_PER_DIM * dim: start, _BOUNDS_PER_DIM * dim + 1: stop}
    return _bounds(source, args[1])


def inferred(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """Return the slot that a reshape leaves to PyTorch (-1), or None."""
    if func in _UNFLATTENS:
        dim = _argument(args, kwargs, 1, "dim") % args[0].ndim
        sizes = [0] * dim + list(_argument(args, kwargs, 2, "sizes"))
    elif func in _RESHAPES - {Tensor.expand}:
        sizes = list(_flat(args[1:], kwargs.get("shape", kwargs.get("size"))))
    else:
        return None
    return next((slot for slot, size in enumerate(sizes) if _is(size, -1)), None)


def reshapes(func: Any) -> bool:
    """Whether PyTorch could infer one of the sizes that a function is given."""
    return func in (_RESHAPES - {Tensor.expand}) | _UNFLATTENS


@dataclass(frozen=True)
class Stretch:
    """Positions `start` to `stop` along a dimension of a tensor."""

    tensor: Tensor
    dim: int
    start: int
    stop: int


def counted_by_slot(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
) -> dict[int, Stretch]:
    """Return, for every slot, the positions that its size counts; for inferred ones too."""
    source, slots = args[0], requested(func, args, kwargs)
    if func in _RESHAPES | _UNFLATTENS:
        return {slot: Stretch(result, slot, 0, size) for slot, size in enumerate(result.shape)}
    if func in _SPLITS | _CHUNKS:
        dim = _argument(args, kwargs, 2, "dim", 0) % source.ndim
        stops = list(itertools.accumulate(int(slots[slot]) for slot in sorted(slots)))
        starts = [0, *stops[:-1]]
        parts = zip(starts, stops, strict=True)
        return {i: Stretch(source, dim, *part) for i, part in enumerate(parts)}
    found = {}
    for slot, bound in slots.items():
        dim, is_stop = divmod(slot, _BOUNDS_PER_DIM)
        size = source.shape[dim]
        # the stop of a slice at or behind the end stays there, whatever is removed
        if not (func in _ITEMS and is_stop and bound >= size):
            found[slot] = Stretch(source, dim, 0, min(int(bound), size))
    return found


def replaced(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], sizes: Sizes) -> Any:
    """Make the call with other sizes in some slots."""
    source = args[0]
    if func in _RESHAPES:
        given = list(_flat(args[1:], kwargs.get("shape", kwargs.get("size"))))
        for slot, size in sizes.items():
            given[slot] = size
        return func(source, given) if func is torch.reshape else func(source, *given)
    if func in _UNFLATTENS:
        dim = _argument(args, kwargs, 1, "dim") % source.ndim
        given = list(_argument(args, kwargs, 2, "sizes"))
        for slot, size in sizes.items():
            given[slot - dim] = size
        return source.unflatten(dim, given)
    if func in _SPLITS | _CHUNKS:
        dim = _argument(args, kwargs, 2, "dim", 0)
        parts = requested(func, args, kwargs) | sizes
        return source.split([parts[i] for i in sorted(parts)], dim)
    if func in _NARROWS:
        dim = _argument(args, kwargs, 1, "dim") % source.ndim
        bounds = requested(func, args, kwargs) | sizes
        start, stop = (bounds[_BOUNDS_PER_DIM * dim + i] for i in (0, 1))
        return source.narrow(dim, start, stop - start)
    return source[_with_bounds(source, args[1], sizes)]


def call_site() -> str:
    """Return where the code outside of PyTorch is that makes the current call."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_OWN):
        frame = frame.f_back
    line = frame.f_lineno - frame.f_code.co_firstlineno
    return f"{frame.f_code.co_qualname}+{line}"


class Calls:
    """Tells the calls that are made at one place apart by their order."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def next(self, site: str) -> str:
        """Return the name of the next call at a place."""
        count = self._counts.get(site, 0)
        self._counts[site] = count + 1
        return f"{site}#{count}"


class _OtherSizes(TorchFunctionMode):
    """Makes some calls of one module's forward with other sizes."""

    def __init__(self, sizes_by_call: Mapping[str, Sizes]) -> None:
        super().__init__()
        self._sizes_by_call = sizes_by_call
        self._calls = Calls()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not names_sizes(func, args, kwargs):
            return func(*args, **kwargs)
        sizes = self._sizes_by_call.get(self._calls.next(call_site()))
        return func(*args, **kwargs) if sizes is None else replaced(func, args, kwargs, sizes)


class _Resized(nn.Module):
    """A module whose forward names sizes that surgery has changed."""

    sizes_by_call: dict[str, Sizes]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the original forward with the sizes that its tensors have now."""
        with _OtherSizes(self.sizes_by_call):
            return super().forward(*args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (type(self).__mro__[2],), self.__dict__


def resize(module: nn.Module, sizes_by_call: Mapping[str, Sizes]) -> None:
    """Make a module use other sizes in some of its calls; earlier ones stay where they are not."""
    known: dict[str, Sizes] = dict(getattr(module, "sizes_by_call", {}))
    for call, sizes in sizes_by_call.items():
        known[call] = known.get(call, {}) | sizes
    module.__class__ = _resized_class(type(module))
    vars(module)["sizes_by_call"] = known


def _resized_class(kind: type[nn.Module]) -> type[nn.Module]:
    if issubclass(kind, _Resized):
        return kind
    return type(kind.__name__, (_Resized, kind), {"__module__": kind.__module__})


def _rebuild(kind: type[nn.Module]) -> nn.Module:
    made = _resized_class(kind)
    return made.__new__(made)


def _flat(given: Sequence[Any], named: Any) -> Sequence[Any]:
    if not given:
        return tuple(named)
    return tuple(given[0]) if isinstance(given[0], list | tuple) else tuple(given)


def _is(size: Any, value: int) -> bool:
    return isinstance(size, int) and size == value


def _argument(
    args: Sequence[Any], kwargs: Mapping[str, Any], position: int, name: str, default: Any = None
) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _parts(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    dim = _argument(args, kwargs, 2, "dim", 0)
    size = args[0].shape[dim]
    if func in _CHUNKS:
        part = -(-size // _argument(args, kwargs, 1, "chunks"))
    else:
        names = ("split_size", "split_size_or_sections", "split_sizes")
        part = args[1] if len(args) > 1 else next(kwargs[n] for n in names if n in kwargs)
        if not isinstance(part, int):
            return list(part)
    return [min(part, size - start) for start in range(0, size, max(1, part))]


def _indices(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _sliced_dims(source: Tensor, index: Any) -> list[tuple[int, int]]:
    """Return `(position in the index, dimension of the source)` of every slice."""
    items = _indices(index)
    used = sum(1 for i in items if i is not None and i is not Ellipsis)
    dim, found = 0, []
    for position, item in enumerate(items):
        if item is Ellipsis:
            dim += source.ndim - used
        elif item is not None:
            if isinstance(item, slice):
                found.append((position, dim))
            dim += item.ndim if isinstance(item, Tensor) and item.dtype == torch.bool else 1
    return found


def _bounds(source: Tensor, index: Any) -> dict[int, Any]:
    bounds = {}
    for position, dim in _sliced_dims(source, index):
        item = _indices(index)[position]
        if item.step in (None, 1):
            for is_stop, bound in enumerate((item.start, item.stop)):
                if bound is not None:
                    from_end = source.shape[dim] if bound < 0 else 0
                    bounds[_BOUNDS_PER_DIM * dim + is_stop] = bound + from_end
    return bounds


def _with_bounds(source: Tensor, index: Any, sizes: Sizes) -> tuple[Any, ...]:
    items = list(_indices(index))
    bounds = _bounds(source, index) | sizes
    for position, dim in _sliced_dims(source, index):
        first = _BOUNDS_PER_DIM * dim
        if items[position].step in (None, 1):
            items[position] = slice(bounds.get(first), bounds.get(first + 1))
    return tuple(items)
