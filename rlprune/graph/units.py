"""From ties to groups: which units are alike, and where their channels live."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rlprune.graph.group_graph import ALWAYS_KEPT, Run, Size
from rlprune.graph.labels import ALWAYS, Along, Ties
from rlprune.graph.record import Counted, Labelled, Recording
from rlprune.graph.rules.call import LAYER_NORM

Array = npt.NDArray[np.int64]

_FIXED = "its channels meet a tensor of fixed size"
_TOGETHER = "all of its channels must stay together"


@dataclass(frozen=True)
class Found:
    """Units that live in the same dimensions, as often in each: one group.

    Attributes:
        name: the first layer, in forward order, that writes them.
        units: in the order of their first channels.
        roots: positions of their channels in that layer's output dimension.
        atoms: index of the unit of every root channel.
        statistic: what averages over these channels, or empty.
        heads: whether products of activations run once per unit.
    """

    name: str
    units: Array
    roots: Array
    atoms: Array
    statistic: str
    heads: bool

    @property
    def step(self) -> int:
        """Root channels per unit."""
        return len(self.roots) // len(self.units)


class Units:
    """The units of a recording, their groups, and what is left out.

    Args:
        recording: of one forward pass.
        refused: `{group: reason}` of groups that are to be left out for other reasons.
        residual_width: also prune channels that several layers write and a LayerNorm averages over.
    """

    def __init__(
        self, recording: Recording, refused: Mapping[str, str], *, residual_width: bool
    ) -> None:
        self._recording = recording
        self._of = _straightened(recording.ties)
        self._dims = list({int(d.labels[0]): d for d in recording.dims}.values())
        self._starts = np.array([int(d.labels[0]) for d in self._dims])
        self.groups: list[Found] = []
        self.left_out: dict[str, str] = {}
        self._residual_width = residual_width
        self._find(refused)
        self._index()

    def owner(self, labels: Tensor | None) -> Labelled | None:
        """Return the dimension of the parameter or buffer that labels come from, if they do."""
        if labels is None or int(labels[0]) == ALWAYS:
            return None
        first = int(labels[0])
        index = int(np.searchsorted(self._starts, first, side="right")) - 1
        home = self._dims[index]
        return home if first - self._starts[index] < len(home.labels) else None

    def runs(self, labels: Tensor) -> tuple[Run, ...]:
        """Describe positions by who controls them: `(group, first root channel, length)`."""
        units = self._of[labels.numpy()]
        group = self._group_of[units]
        # The n-th position of a unit goes with the n-th root channel of the unit.
        order = np.argsort(units, kind="stable")
        starts = np.searchsorted(units[order], units[order])
        nth = np.empty(len(units), dtype=np.int64)
        nth[order] = np.arange(len(units)) - starts
        steps = np.maximum(self._step_of[units], 1)
        root = self._roots[np.minimum(self._start_of[units] + nth % steps, len(self._roots) - 1)]
        root = np.where(group == ALWAYS_KEPT, 0, root)
        moving = np.where(group == ALWAYS_KEPT, 0, root - np.arange(len(units)))
        cuts = np.flatnonzero((np.diff(group) != 0) | (np.diff(moving) != 0)) + 1
        edges = [0, *cuts.tolist(), len(units)]
        return tuple((int(group[a]), int(root[a]), b - a) for a, b in itertools.pairwise(edges))

    def counted(self, positions: Counted) -> tuple[Run, ...]:
        """Describe some positions of a dimension."""
        line = self._line(positions.along)
        length = positions.stop - positions.start
        if line is None or not length:
            return ((ALWAYS_KEPT, 0, length),)
        return self.runs(line[positions.start : positions.stop])

    def size(self, along: Along) -> Size:
        """Describe the number of positions as a function of the widths of the groups."""
        line = self._line(along)
        if line is None:
            return Size(constant=float(along.labels.shape[along.dim]))
        units = self._of[line.numpy()]
        counts = np.bincount(self._group_of[units] + 1, minlength=1)
        slopes = {
            int(g): float(counts[g + 1]) / len(self.groups[g].roots)
            for g in np.flatnonzero(counts[1:])
        }
        return Size(constant=float(counts[0]), slopes=slopes)

    def _line(self, along: Along) -> Tensor | None:
        """The labels of the positions along a dimension; None if they are all of one unit."""
        units, labels = self._of[along.labels.numpy()], along.labels
        if (units == units.take([0], axis=along.dim)).all():
            return None
        others = [dim for dim in range(-labels.ndim, 0) if dim != along.dim]
        return _first(labels, others).reshape(-1)

    @cached_property
    def _reasons(self) -> dict[int, str]:
        reasons: dict[int, str] = {}
        for labels, reason in self._recording.ties.kept:
            for unit in np.unique(self._of[labels.numpy()]):
                reasons.setdefault(int(unit), reason)
        reasons.setdefault(int(self._of[ALWAYS]), _FIXED)
        return reasons

    @cached_property
    def _statistics(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for labels, dims, reason in self._recording.ties.statistics:
            units = self._of[labels.numpy()]
            firsts = units
            for dim in dims:
                firsts = firsts.take([0], axis=dim)
            uneven = (units != firsts).any(axis=dims, keepdims=True)
            for unit in np.unique(units[np.broadcast_to(uneven, units.shape)]):
                if not found.get(int(unit), "").startswith(LAYER_NORM):
                    found[int(unit)] = reason
        return found

    def _find(self, refused: Mapping[str, str]) -> None:
        signatures, writers, attended = self._signatures(), self._writers(), self._attended()
        names: set[str] = set()
        seen = np.zeros(len(self._of), dtype=bool)
        for operation in self._recording.operations:
            home = self.owner(operation.product.written)
            if home is None:
                continue
            here = self._of[home.labels.numpy()]
            for units in self._alike(here[~seen[here]], signatures):
                seen[units] = True
                name = _unique(home.tensor.removesuffix(".weight"), names)
                reason = self._refusal(units, int(writers[units[0]])) or refused.get(name, "")
                if reason:
                    self.left_out[name] = reason
                    continue
                roots = np.flatnonzero(np.isin(here, units))
                self.groups.append(
                    Found(
                        name=name,
                        units=units,
                        roots=roots,
                        atoms=_ranks(here[roots], units),
                        statistic=self._statistics.get(int(units[0]), ""),
                        heads=bool(attended[units].all()),
                    )
                )

    def _alike(self, here: Array, signatures: npt.NDArray[np.uint64]) -> list[Array]:
        """Split units by what they live in, or by why they stay; in the order of appearance."""
        ordered = here[np.sort(np.unique(here, return_index=True)[1])]
        alike: dict[tuple[str, int], list[int]] = {}
        for unit in ordered.tolist():
            reason = self._reasons.get(unit, "")
            alike.setdefault((reason, 0 if reason else int(signatures[unit])), []).append(unit)
        return [np.array(units, dtype=np.int64) for units in alike.values()]

    def _refusal(self, units: Array, writers: int) -> str:
        first = int(units[0])
        statistic = self._statistics.get(first, "")
        if first in self._reasons:
            return self._reasons[first]
        if statistic.startswith(LAYER_NORM) and writers > 1 and not self._residual_width:
            return f"{statistic}, which several layers write (residual width)"
        return _TOGETHER if len(units) == 1 else ""

    def _signatures(self) -> npt.NDArray[np.uint64]:
        """A number per unit, equal for units that live equally often in the same dimensions."""
        keys = np.random.default_rng(0).integers(1, 2**63, len(self._dims), dtype=np.uint64)
        signatures = np.zeros(len(self._of), dtype=np.uint64)
        for key, dim in zip(keys, self._dims, strict=True):
            units, counts = np.unique(self._of[dim.labels.numpy()], return_counts=True)
            signatures[units] += counts.astype(np.uint64) * key
        return signatures

    def _writers(self) -> Array:
        """How many layers write each unit."""
        counts = np.zeros(len(self._of), dtype=np.int64)
        written = {
            int(op.product.written[0]): op.product.written
            for op in self._recording.operations
            if op.product.written is not None
        }
        for labels in written.values():
            counts[np.unique(self._of[labels.numpy()])] += 1
        return counts

    def _attended(self) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(self._of), dtype=bool)
        for operation in self._recording.operations:
            if operation.product.attends:
                for along in operation.product.batched:
                    found[self._of[along.labels.numpy()]] = True
        return found

    def _index(self) -> None:
        count = len(self._of)
        self._group_of = np.full(count, ALWAYS_KEPT, dtype=np.int64)
        self._step_of = np.zeros(count, dtype=np.int64)
        self._start_of = np.zeros(count, dtype=np.int64)
        roots: list[Array] = []
        offset = 0
        for index, group in enumerate(self.groups):
            self._group_of[group.units] = index
            self._step_of[group.units] = group.step
            self._start_of[group.units] = offset + group.step * np.arange(len(group.units))
            # root channels are numbered within the group, unit by unit
            roots.append(np.argsort(group.atoms, kind="stable"))
            offset += len(group.roots)
        self._roots = np.concatenate(roots) if roots else np.zeros(1, dtype=np.int64)


def _ranks(values: Array, units: Array) -> Array:
    """Index in `units` of every value."""
    order = np.argsort(units)
    return np.asarray(order[np.searchsorted(units[order], values)])


def _unique(name: str, names: set[str]) -> str:
    candidate, count = name, 1
    while candidate in names:
        count += 1
        candidate = f"{name} [{count}]"
    names.add(candidate)
    return candidate


def _straightened(ties: Ties) -> Array:
    """Return the unit of every label, once all that the forward relies on is true.

    What stays of a grid is a grid, and positions taken by number are all there or not at all.
    """
    units, changed = ties.units(), True
    while changed:
        changed = False
        for labels, dims in ties.picked:
            uneven = _uneven(units, _stays(units, ties), labels)
            if set(dims) & uneven:
                ties.tie(labels, _first(labels, sorted(set(dims) & uneven)))
                units, changed = ties.units(), True
        for grid in ties.grids:
            uneven = _uneven(units, _stays(units, ties), grid)
            if len(uneven) > 1:
                ties.tie(grid, _first(grid, sorted(uneven)[:-1]))
                units, changed = ties.units(), True
    return units


def _stays(units: Array, ties: Ties) -> npt.NDArray[np.bool_]:
    stays = np.zeros(len(units), dtype=bool)
    stays[units[ALWAYS]] = True
    for labels, _ in ties.kept:
        stays[units[labels.numpy()]] = True
    return stays


def _uneven(units: Array, stays: npt.NDArray[np.bool_], labels: Tensor) -> set[int]:
    """Dimensions along which some positions may stay while others go."""
    found = units[labels.numpy()]
    found = np.where(stays[found], -1, found)
    dims = range(-labels.ndim, 0)
    return {d for d in dims if not (found == found.take([0], axis=d)).all()}


def _first(labels: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in dims:
        labels = labels.narrow(dim, 0, 1)
    return labels
