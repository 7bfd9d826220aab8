"""The algebra of labels: which unit every element of a tensor belongs to.

A label names a unit of channels; a tensor's element disappears when its unit is removed. Each
tensor carries a few *factors*: integer arrays, broadcastable to the tensor's shape, that vary along
disjoint dimensions (a weight has one per dimension, an activation usually one along its channels).
Operations tie labels to one another. Once a forward pass has been followed, the connected
components of all ties are the units, so heads, shuffled, split or concatenated channels need no
rule of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

Factors = tuple[Tensor, ...]
Shape = tuple[int, ...]
Units = npt.NDArray[np.int64]

ALWAYS = 0
"""The label of what is never removed."""


@dataclass(frozen=True)
class Along:
    """The positions of one dimension of a tensor.

    Attributes:
        labels: a factor of the tensor.
        dim: which it is, counted from the last (-1).
    """

    labels: Tensor
    dim: int


@dataclass
class Ties:
    """Labels handed out so far, what ties them together, and what is said about them.

    Attributes:
        where: innermost module that is running, for reasons.
        kept: `(labels, reason)` of what must stay.
        statistics: `(labels, dims, reason)` of labels that an operation averages over along some
            dimensions: removing some of them is possible, but changes what the others see.
        grids: factors that vary along several dimensions; what stays of them must be a grid.
        picked: `(labels, dims)` of positions that the forward takes by their number.
        copies: labels of positions that hold copies of one another.
    """

    where: str = ""
    kept: list[tuple[Tensor, str]] = field(default_factory=list)
    statistics: list[tuple[Tensor, tuple[int, ...], str]] = field(default_factory=list)
    grids: list[Tensor] = field(default_factory=list)
    picked: list[tuple[Tensor, tuple[int, ...]]] = field(default_factory=list)
    copies: set[int] = field(default_factory=set)
    _count: int = 1
    _pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def fresh(self, count: int) -> Tensor:
        """Return new labels; shape `(count,)`."""
        labels = torch.arange(self._count, self._count + count)
        self._count += count
        return labels

    def tie(self, first: Tensor, second: Tensor) -> None:
        """Make two broadcastable arrays of labels stand for the same units."""
        if first is not second:
            self._pairs.append((first, second))

    def keep(self, labels: Tensor, reason: str) -> None:
        """Say that these labels are never removed."""
        self.kept.append((labels, self._placed(reason)))

    def average(self, labels: Tensor, dims: Sequence[int], reason: str) -> None:
        """Say that an operation computes a statistic over these labels along some dimensions."""
        along = tuple(sorted(set(dims) & varying(labels)))
        if along:
            self.statistics.append((labels, along, self._placed(reason)))

    def pick(self, labels: Tensor, dims: Sequence[int]) -> None:
        """Say that the forward takes positions along some dimensions by their number."""
        along = tuple(sorted(set(dims) & varying(labels)))
        if along:
            self.picked.append((labels, along))

    def tie_along(self, labels: Tensor, dims: Sequence[int], reason: str) -> Tensor:
        """Make labels constant along some dimensions and return them with size 1 there."""
        narrow = labels
        for dim in dims:
            narrow = narrow.narrow(dim, 0, 1)
        if narrow.shape != labels.shape:
            self.tie(labels, narrow)
            if narrow.numel() == 1:
                self.keep(narrow, reason)
        return narrow

    def _placed(self, reason: str) -> str:
        return f"{reason} in {self.where!r}" if self.where else reason

    def units(self) -> Units:
        """Return the unit of every label; what `keep` was told is not taken into account."""
        if not self._pairs:
            return np.arange(self._count)
        pairs = [np.broadcast_arrays(first, second) for first, second in self._pairs]
        rows = np.concatenate([first.ravel() for first, _ in pairs])
        columns = np.concatenate([second.ravel() for _, second in pairs])
        links = coo_array((np.ones(len(rows), bool), (rows, columns)), (self._count, self._count))
        return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def varying(labels: Tensor) -> set[int]:
    """Return the dimensions along which labels differ, counted from the last (-1)."""
    return {dim - labels.ndim for dim, size in enumerate(labels.shape) if size > 1}


def compress(labels: Tensor) -> Tensor:
    """Shrink every dimension along which the labels are constant to size 1."""
    for dim in range(labels.ndim):
        if labels.shape[dim] > 1:
            first = labels.narrow(dim, 0, 1)
            if labels.stride(dim) == 0 or bool((labels == first).all()):
                labels = first
    return labels


def aligned(labels: Tensor, ndim: int) -> Tensor:
    """Prepend dimensions of size 1."""
    return labels.view((1,) * (ndim - labels.ndim) + tuple(labels.shape))


def elementwise(
    ties: Ties, operands: Sequence[tuple[Factors, Shape]], reason: str = "a fixed tensor"
) -> Factors:
    """Combine operands that are broadcast against each other, element by element.

    An operand that has a size but no labels along a dimension is always there, so whatever else
    varies along that dimension must stay together.
    """
    ndim = max((len(shape) for _, shape in operands), default=0)
    found: list[Tensor] = []
    fixed = set()
    for factors, shape in operands:
        here = [aligned(labels, ndim) for labels in factors]
        labelled = set().union(*map(varying, here)) if here else set()
        sizes = (1,) * (ndim - len(shape)) + tuple(shape)
        fixed |= {dim - ndim for dim, size in enumerate(sizes) if size > 1} - labelled
        found.extend(here)
    weakened = []
    for labels in found:
        lost = varying(labels) & fixed
        weakened.append(ties.tie_along(labels, sorted(lost), f"it meets {reason}"))
    return merge(ties, weakened)


def merge(ties: Ties, found: Sequence[Tensor]) -> Factors:
    """Tie factors that vary along the same dimensions until all are disjoint."""
    waiting, result = list(found), list[Tensor]()
    while waiting:
        labels = waiting.pop()
        along = varying(labels)
        if not along:
            continue
        overlapping = next((other for other in result if varying(other) & along), None)
        if overlapping is None:
            result.append(labels)
        else:
            result = [other for other in result if other is not overlapping]
            waiting.extend(_tie_overlapping(ties, overlapping, labels))
    return tuple(result)


def _tie_overlapping(ties: Ties, first: Tensor, second: Tensor) -> Factors:
    if varying(first) < varying(second):
        first, second = second, first
    wide, narrow = varying(first), varying(second)
    if narrow < wide and min(wide) not in narrow:
        # (head, dimension of a head) against (dimension of a head): heads stay apart.
        reason = "its channels meet channels that several heads share"
        shared = sorted(narrow)
        return ties.tie_along(first, shared, reason), ties.tie_along(second, shared, reason)
    reason = "its channels meet channels along other dimensions"
    common = wide & narrow
    first = ties.tie_along(first, sorted(wide - common), reason)
    second = ties.tie_along(second, sorted(narrow - common), reason)
    ties.tie(first, second)
    return (first,)


def reduce(ties: Ties, factors: Factors, dims: Sequence[int], reason: str) -> Factors:
    """Sum out dimensions, negative ones, keeping them with size 1.

    Labels that vary only along summed dimensions end here: the sum simply has fewer terms. Labels
    that vary along others too (a head and its dimensions) stay together along the summed ones.
    """
    summed = set(dims)
    result = []
    for labels in factors:
        along = varying(labels)
        if along <= summed:
            ties.average(labels, dims, reason)
        else:
            result.append(ties.tie_along(labels, sorted(along & summed), reason))
    return tuple(result)


def only_along(ties: Ties, factors: Factors, dims: set[int], reason: str) -> Factors:
    """Tie labels along all dimensions but some."""
    weakened = [
        ties.tie_along(labels, sorted(varying(labels) - dims), reason) for labels in factors
    ]
    return tuple(labels for labels in weakened if varying(labels))
