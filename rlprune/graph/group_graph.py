"""The dependency groups of one network as plain data: traced once, replayed for ever.

Every prunable tensor dimension is described by runs of `(group, first root channel, length)`, so a
decision (which root channels stay) turns into index lists without a trace, and the whole graph is
JSON. The idea of compiling torch-pruning's groups into such a map is this project's own; the groups
themselves come from DepGraph (Fang et al., CVPR 2023, https://github.com/VainF/Torch-Pruning).
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from rlprune.cost.analytic import AnalyticCost, Term, Widths
from rlprune.errors import PlanError, UnknownNameError

if TYPE_CHECKING:
    from rlprune.surgery.plan import Plan

ALWAYS_KEPT = -1

FLOOR_CHANNELS = 4
FLOOR_FRACTION = 0.05


class Frozen(BaseModel):
    """Immutable, validated, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Slice(Frozen):
    """Who controls one dimension of one tensor.

    Attributes:
        tensor: name in the state dict.
        dim: dimension of the tensor.
        runs: consecutive positions as `(group index, first root channel, length)`; the group index
            -1 marks positions that always stay.
    """

    tensor: str
    dim: int
    runs: tuple[tuple[int, int, int], ...]


class Operation(Frozen):
    """One convolution or linear layer: `positions` MACs per element of its weight, per image."""

    weight: str
    positions: int
    depthwise: bool = False


class TensorInfo(Frozen):
    """Shape of a dense tensor; parameters are counted, buffers are not."""

    shape: tuple[int, ...]
    is_parameter: bool


class Group(Frozen):
    """Channels that must be removed together across layers.

    Attributes:
        name: the first layer, in forward order, that produces these channels.
        width: number of root channels in the dense network.
        members: layers whose tensors shrink with the group; ` (in)` marks consumers.
        step: channels that are tied to one another (size of an atom); widths are multiples of it.
        atoms: atom index of every root channel; empty when every channel is its own atom.
        norms: L2 norm of every root channel over all coupled members when traced; the default
            ranking (higher = keep first).
    """

    name: str
    width: int
    members: tuple[str, ...]
    step: int = 1
    atoms: tuple[int, ...] = ()
    norms: tuple[float, ...] = ()

    @property
    def floor(self) -> int:
        """Fewest channels that a plan may keep: max(4, 5 %) rounded up to whole atoms."""
        channels = max(FLOOR_CHANNELS, math.ceil(FLOOR_FRACTION * self.width))
        return min(self.width, math.ceil(channels / self.step) * self.step)

    def keep_best(self, scores: npt.ArrayLike, width: int) -> tuple[int, ...]:
        """Return the `width` best root channels, whole atoms only, in ascending order."""
        values = np.asarray(scores, dtype=np.float64)
        if values.shape != (self.width,):
            raise PlanError(
                f"group {self.name!r} needs {self.width} scores, got shape {values.shape}"
            )
        atoms = np.asarray(self.atoms or range(self.width))
        totals = np.bincount(atoms, weights=values) / self.step
        best = np.argsort(-totals, kind="stable")[: width // self.step]
        return tuple(int(c) for c in np.flatnonzero(np.isin(atoms, best)))


class LeftOut(Frozen):
    """A group that is not pruned, and why."""

    name: str
    reason: str


class GroupGraph(Frozen):
    """All dependency groups of a network in forward order, with exact analytic costs."""

    groups: tuple[Group, ...]
    slices: tuple[Slice, ...]
    operations: tuple[Operation, ...]
    tensors: dict[str, TensorInfo]
    left_out: tuple[LeftOut, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Group names in forward order."""
        return tuple(group.name for group in self.groups)

    @cached_property
    def widths(self) -> Widths:
        """Dense width of every group; shape `(groups,)`."""
        return np.array([group.width for group in self.groups], dtype=np.int64)

    @cached_property
    def floors(self) -> Widths:
        """Fewest channels that each group may keep; shape `(groups,)`."""
        return np.array([group.floor for group in self.groups], dtype=np.int64)

    @cached_property
    def steps(self) -> Widths:
        """Size of an atom in each group; shape `(groups,)`."""
        return np.array([group.step for group in self.groups], dtype=np.int64)

    @cached_property
    def macs_of(self) -> AnalyticCost:
        """MACs of one image as a function of widths: convolution and linear layers only."""
        return AnalyticCost(
            [self._term(op.weight, op.positions) for op in self.operations], len(self.groups)
        )

    @cached_property
    def params_of(self) -> AnalyticCost:
        """Number of parameters as a function of widths."""
        names = [name for name, info in self.tensors.items() if info.is_parameter]
        return AnalyticCost([self._term(name, 1) for name in names], len(self.groups))

    def macs(self, plan: Plan | None = None) -> int:
        """Multiply-accumulates for one image, of the dense network or after `plan`."""
        return int(self.macs_of(self.widths if plan is None else plan.widths))

    def params(self, plan: Plan | None = None) -> int:
        """Number of parameters, of the dense network or after `plan`."""
        return int(self.params_of(self.widths if plan is None else plan.widths))

    def group(self, name: str) -> Group:
        """Return the group called `name`, or raise `UnknownNameError` with the closest match."""
        if name not in self.names:
            raise UnknownNameError("group", name, self.names)
        return self.groups[self.names.index(name)]

    def kept_positions(
        self, kept: Mapping[str, Iterable[int]]
    ) -> dict[str, dict[int, npt.NDArray[np.int64]]]:
        """Translate kept root channels into `{tensor: {dim: kept positions}}`."""
        masks = []
        for group in self.groups:
            mask = np.zeros(group.width, dtype=bool)
            mask[np.fromiter(kept[group.name], dtype=np.int64)] = True
            masks.append(mask)
        result: dict[str, dict[int, npt.NDArray[np.int64]]] = {}
        for piece in self.slices:
            mask = np.concatenate(
                [
                    np.ones(length, dtype=bool)
                    if group == ALWAYS_KEPT
                    else masks[group][start : start + length]
                    for group, start, length in piece.runs
                ]
            )
            result.setdefault(piece.tensor, {})[piece.dim] = np.flatnonzero(mask)
        return result

    def removed_share(self) -> npt.NDArray[np.float64]:
        """Share of the dense MACs that disappears with each group alone; shape `(groups,)`."""
        without = self.widths - np.diag(self.widths)
        return 1.0 - self.macs_of(without) / max(1, self.macs())

    def _term(self, tensor: str, coefficient: float) -> Term:
        controlled = {s.dim: s for s in self._slices_of.get(tensor, ())}
        sizes = []
        for dim, size in enumerate(self.tensors[tensor].shape):
            if dim in controlled:
                sizes.append(self._size(controlled[dim]))
            else:
                coefficient *= size
        return Term(coefficient, tuple(sizes))

    @cached_property
    def _slices_of(self) -> dict[str, list[Slice]]:
        found: dict[str, list[Slice]] = {}
        for piece in self.slices:
            found.setdefault(piece.tensor, []).append(piece)
        return found

    def _size(self, piece: Slice) -> tuple[float, dict[int, float]]:
        constant = 0.0
        slopes: dict[int, float] = {}
        for group, _, length in piece.runs:
            if group == ALWAYS_KEPT:
                constant += length
            else:
                slopes[group] = slopes.get(group, 0.0) + length / self.groups[group].width
        return constant, slopes

    def table(self) -> Table:
        """Groups, widths and cost shares as a terminal table."""
        table = Table(title=f"{len(self.groups)} groups, {self.macs():,} MACs per image")
        for column in ("group", "width", "floor", "members"):
            table.add_column(column, justify="right" if column in ("width", "floor") else "left")
        table.add_column("MACs that go with it", justify="right")
        for group, share in zip(self.groups, self.removed_share(), strict=True):
            table.add_row(
                group.name,
                str(group.width),
                str(group.floor),
                str(len(group.members)),
                f"{share:.1%}",
            )
        for item in self.left_out:
            table.add_row(item.name, "-", "-", "left out", item.reason, style="dim")
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=100).print(self.table())
        return text.getvalue()
