"""The dependency groups of one network as plain data: traced once, replayed for ever.

Every prunable dimension of a tensor is described by runs `(group, first root channel, length)`. A
decision (which root channels stay) turns into index lists without a trace, and the whole graph is
JSON. That channels coupled across layers form groups that must be pruned together is DepGraph's
idea (Fang et al., CVPR 2023, https://github.com/VainF/Torch-Pruning).
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, model_validator
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


Run = tuple[int, int, int]
"""Consecutive positions: `(group index, first root channel, length)`; the group index `ALWAYS_KEPT`
marks positions that always stay."""

GroupKind = Literal["channels", "heads", "block"]


class Slice(Frozen):
    """Who controls one dimension of one tensor.

    Attributes:
        tensor: name in the state dict.
        dim: dimension of the tensor.
        runs: who controls its positions.
        reads: whether a layer sums over this dimension (its input channels).
    """

    tensor: str
    dim: int
    runs: tuple[Run, ...]
    reads: bool = False


class Size(Frozen):
    """Size of a dimension: a constant plus a number per kept root channel of some groups."""

    constant: float
    slopes: dict[int, float] = {}


class Operation(Frozen):
    """One convolution or matrix product.

    Attributes:
        module: that computes it.
        weight: name of its weight, empty when both factors are activations.
        macs: per image, without the sizes below.
        sizes: of the dimensions that pruning changes.
        positions: how often the weight is used per image.
        depthwise: one filter per channel.
    """

    module: str
    weight: str
    macs: float
    sizes: tuple[Size, ...]
    positions: float
    depthwise: bool = False


class TensorInfo(Frozen):
    """Shape and type of a dense tensor.

    Attributes:
        shape: in the dense network.
        dtype: such as `float32`.
        is_parameter: parameters are counted, buffers are not.
        is_saved: whether it is in the state dict; other buffers are built with the model.
    """

    shape: tuple[int, ...]
    dtype: str
    is_parameter: bool
    is_saved: bool = True


class Attribute(Frozen):
    """An integer attribute that a forward reads: the number of positions that stay of `runs`."""

    module: str
    name: str
    runs: tuple[Run, ...]


class Resize(Frozen):
    """A call within a module's forward that has to name other sizes after surgery.

    Attributes:
        module: whose forward makes the call.
        call: which of its calls: where in the source, and the how many-th time.
        sizes: `{slot: runs}`; the size is the number of positions that stay.
        open_slot: the slot that PyTorch is left to infer, so that the batch stays free, or None.
    """

    module: str
    call: str
    sizes: dict[int, tuple[Run, ...]]
    open_slot: int | None = None


class Group(Frozen):
    """Channels that must be removed together across layers, or a block that can be bypassed.

    Attributes:
        name: the first layer, in forward order, that produces these channels.
        width: number of root channels in the dense network (those of that layer); 1 for a block.
        members: layers whose tensors shrink with the group; ` (in)` marks consumers. The module
            itself for a block.
        kind: what a unit is.
        step: channels that are tied to one another (size of an atom); widths are multiples of it.
        atoms: atom index of every root channel; empty when every channel is its own atom.
        scores: what every root channel is worth, >= 0; the ranking (higher = keep first). When
            traced, its L2 norm over all coupled members.
        statistic: the operation that averages over these channels, so that removing some changes
            what the others see; empty where removing is the same as ignoring.
    """

    name: str
    width: PositiveInt
    members: tuple[str, ...]
    kind: GroupKind = "channels"
    step: PositiveInt = 1
    atoms: tuple[NonNegativeInt, ...] = ()
    scores: tuple[float, ...] = ()
    statistic: str = ""

    @model_validator(mode="after")
    def _check_units(self) -> Self:
        if self.kind == "block" and (self.width, len(self.members)) != (1, 1):
            raise ValueError(f"block {self.name!r} needs width 1 and one module")
        sizes = Counter(self.atoms)
        whole = set(sizes) == set(range(self.width // self.step)) and set(sizes.values()) == {
            self.step
        }
        if self.width % self.step or (self.step > 1 and not whole) or (sizes and not whole):
            raise ValueError(f"group {self.name!r} does not consist of sets of {self.step}")
        if self.scores and len(self.scores) != self.width:
            raise ValueError(f"group {self.name!r} has {len(self.scores)} scores, not {self.width}")
        return self

    @property
    def floor(self) -> int:
        """Fewest channels that a plan may keep: max(4, 5 %) rounded up to whole atoms.

        One head of an attention, and nothing of a block.
        """
        if self.kind == "block":
            return 0
        if self.kind == "heads":
            return self.step
        channels = max(FLOOR_CHANNELS, math.ceil(FLOOR_FRACTION * self.width))
        return min(self.width, math.ceil(channels / self.step) * self.step)

    def keep_best(self, scores: npt.ArrayLike, width: int) -> tuple[int, ...]:
        """Return the `width` best root channels, whole atoms only, in ascending order.

        Raises:
            PlanError: if scores are not as many as channels, or one is not a number.
        """
        order = np.argsort(-self.atom_scores(scores), kind="stable")
        kept = np.zeros(len(order), dtype=np.bool_)
        kept[order[: width // self.step]] = True
        return tuple(np.flatnonzero(kept[self.atom_of]).tolist())

    def atom_scores(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the mean score of each atom's channels; shape `(atoms,)`.

        Raises:
            PlanError: if scores are not as many as channels, or one is not a number.
        """
        values = np.asarray(scores, dtype=np.float64)
        if values.shape != (self.width,):
            raise PlanError(
                f"group {self.name!r} needs {self.width} scores, got shape {values.shape}"
            )
        if np.isnan(values).any():
            raise PlanError(f"group {self.name!r} has scores that are not numbers; rank it anew")
        return np.asarray(np.bincount(self.atom_of, weights=values) / self.step)

    @property
    def atom_of(self) -> npt.NDArray[np.int64]:
        """The atom of each root channel; shape `(width,)`."""
        return np.array(self.atoms) if self.atoms else np.arange(self.width)


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
    attributes: tuple[Attribute, ...] = ()
    resizes: tuple[Resize, ...] = ()

    @model_validator(mode="after")
    def _check_runs(self) -> Self:
        """Refuse a graph whose parts contradict one another, such as one from a damaged file."""
        for piece in self.slices:
            what = f"dimension {piece.dim} of {piece.tensor!r}"
            shape = self.tensors[piece.tensor].shape if piece.tensor in self.tensors else ()
            covered = sum(length for _, _, length in piece.runs)
            if not 0 <= piece.dim < len(shape) or covered != shape[piece.dim]:
                raise ValueError(f"{what} is not described as a whole")
            self._check_inside(piece.runs, what)
        if len(set(self.names)) < len(self.groups):
            raise ValueError("two groups have one name")
        for operation in self.operations:
            for size in operation.sizes:
                if any(not 0 <= group < len(self.groups) for group in size.slopes):
                    raise ValueError(f"the cost of {operation.module!r} names an unknown group")
        for attribute in self.attributes:
            self._check_inside(attribute.runs, f"attribute {attribute.name!r}")
        for one in self.resizes:
            for runs in one.sizes.values():
                self._check_inside(runs, f"call {one.call!r} of {one.module!r}", least=0)
        return self

    def __eq__(self, other: object) -> bool:
        """Compare the fields alone: what was computed from them is remembered beside them."""
        if not isinstance(other, GroupGraph):
            return NotImplemented
        return all(getattr(self, one) == getattr(other, one) for one in type(self).model_fields)

    def _check_inside(self, runs: tuple[Run, ...], what: str, least: int = 1) -> None:
        if not runs:
            raise ValueError(f"{what} follows nothing")
        for group, start, length in runs:
            known = ALWAYS_KEPT <= group < len(self.groups)
            width = self.groups[group].width if known and group != ALWAYS_KEPT else length
            outside = start < 0 or length < least or (group >= 0 and start + length > width)
            if not known or outside:
                name = repr(self.groups[group].name) if known else f"number {group}"
                raise ValueError(f"{what} follows channels that group {name} does not have")

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
    def blocks(self) -> dict[str, int]:
        """`{module: group index}` of the blocks that can be bypassed."""
        return {g.members[0]: i for i, g in enumerate(self.groups) if g.kind == "block"}

    @cached_property
    def is_block(self) -> npt.NDArray[np.bool_]:
        """Which groups are blocks; shape `(groups,)`."""
        return np.array([group.kind == "block" for group in self.groups], dtype=bool)

    def bypassed(self, kept: Mapping[str, Iterable[int]]) -> list[str]:
        """Return the modules that a decision removes as a whole."""
        return [m for m, g in self.blocks.items() if not any(True for _ in kept[self.names[g]])]

    @cached_property
    def macs_of(self) -> AnalyticCost:
        """MACs of one image as a function of widths: convolutions and matrix products."""
        terms = [
            Term(op.macs, (*((s.constant, s.slopes) for s in op.sizes), *self._block(op.module)))
            for op in self.operations
        ]
        return AnalyticCost(terms, len(self.groups))

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
        masks = self._masks(kept)
        result: dict[str, dict[int, npt.NDArray[np.int64]]] = {}
        for piece in self.slices:
            result.setdefault(piece.tensor, {})[piece.dim] = np.flatnonzero(
                mask_of(piece.runs, masks)
            )
        return result

    def kept_outputs(self, kept: Mapping[str, Iterable[int]]) -> dict[str, npt.NDArray[np.int64]]:
        """Translate kept root channels into `{weight: kept positions of its first dimension}`."""
        positions = self.kept_positions(kept)
        return {tensor: dims[0] for tensor, dims in positions.items() if 0 in dims}

    def counts(
        self, kept: Mapping[str, Iterable[int]], runs: Sequence[tuple[Run, ...]]
    ) -> list[int]:
        """Return how many positions of each sequence of runs stay."""
        masks = self._masks(kept)
        return [int(mask_of(one, masks).sum()) for one in runs]

    def _masks(self, kept: Mapping[str, Iterable[int]]) -> list[npt.NDArray[np.bool_]]:
        masks = []
        for group in self.groups:
            mask = np.zeros(group.width, dtype=bool)
            mask[np.fromiter(kept[group.name], dtype=np.int64)] = True
            masks.append(mask)
        return masks

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
        return Term(coefficient, (*sizes, *self._block(tensor)))

    def _block(self, name: str) -> tuple[tuple[float, dict[int, float]], ...]:
        """The factor 0 or 1 of what belongs to a block."""
        inside = [g for m, g in self.blocks.items() if name == m or name.startswith(f"{m}.")]
        return tuple((0.0, {g: 1.0}) for g in inside)

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

    def ranked_by(self, scores: Mapping[str, npt.ArrayLike]) -> GroupGraph:
        """Return the same groups with another ranking of their channels, `{group: (width,)}`."""
        groups = (
            group.model_copy(update={"scores": tuple(np.asarray(scores[group.name]).tolist())})
            for group in self.groups
        )
        return self.model_copy(update={"groups": tuple(groups)})

    def table(self) -> Table:
        """Groups, widths in channels or heads, and the MACs that go with each, for a terminal."""
        table = Table(
            title=f"{len(self.groups)} groups, {self.macs():,} MACs per image",
            caption="MACs: the share that goes with a group alone",
        )
        for column in ("group", "width", "floor", "MACs", "note"):
            numbers = column not in ("group", "note")
            table.add_column(column, justify="right" if numbers else "left", no_wrap=numbers)
        for group, share in zip(self.groups, self.removed_share(), strict=True):
            together = group.step if group.kind == "heads" else 1
            note = f"in sets of {group.step}" if group.step > together else ""
            table.add_row(
                group.name,
                f"{group.width // together} {group.kind}",
                str(group.floor // together),
                f"{share:.1%}",
                f"inexact: {group.statistic}" if group.statistic else note,
            )
        for item in self.left_out:
            table.add_row(item.name, "left out", "-", "-", item.reason, style="dim")
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=100).print(self.table())
        return text.getvalue()


def mask_of(runs: Sequence[Run], masks: Sequence[npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """Return which positions stay, given which root channels of every group do."""
    return np.concatenate(
        [
            np.ones(length, dtype=bool)
            if group == ALWAYS_KEPT
            else masks[group][start : start + length]
            for group, start, length in runs
        ]
    )
