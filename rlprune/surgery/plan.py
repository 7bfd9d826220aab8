"""A plan: which channels of each group stay, in the dense network's coordinates."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from rlprune.cost.analytic import Widths
from rlprune.errors import PlanError, UnknownNameError
from rlprune.graph.group_graph import GroupGraph
from rlprune.surgery.replay import materialise

Scores = Mapping[str, npt.ArrayLike]


class Plan:
    """Kept channel indices per dependency group of one network.

    Args:
        kept: `{group: kept root channels}`; groups that are not named stay whole. A block is one
            channel, 0: `[0]` keeps it, `[]` removes it.
        graph: the network's dependency groups.

    Raises:
        PlanError: if indices are out of range, empty, or split channels that are tied.
        UnknownNameError: if a group does not exist.
    """

    def __init__(self, kept: Mapping[str, Iterable[int]], graph: GroupGraph) -> None:
        for name in kept:
            if name not in graph.names:
                raise UnknownNameError("group", name, graph.names)
        self.graph = graph
        self.kept: dict[str, tuple[int, ...]] = {
            group.name: tuple(sorted({int(c) for c in kept[group.name]}))
            if group.name in kept
            else tuple(range(group.width))
            for group in graph.groups
        }
        self._check()

    @classmethod
    def uniform(cls, graph: GroupGraph, kept: float) -> Plan:
        """Keep the same fraction of every group, best channels by group L2 norm, and all blocks.

        Args:
            graph: the network's dependency groups.
            kept: fraction of channels to keep, in (0, 1]; floors still hold.
        """
        if not 0.0 < kept <= 1.0:
            raise PlanError(f"kept must be in (0, 1], got {kept}")
        units = np.rint(graph.widths * kept / graph.steps).astype(np.int64) * graph.steps
        widths = np.where(graph.is_block, graph.widths, np.maximum(units, graph.floors))
        return cls.from_widths(graph, widths)

    @classmethod
    def from_widths(cls, graph: GroupGraph, widths: Widths, scores: Scores | None = None) -> Plan:
        """Keep the best `widths[g]` channels of each group by score (default: group L2 norm)."""
        kept = {
            group.name: group.keep_best(
                group.scores if scores is None else scores[group.name], int(width)
            )
            for group, width in zip(graph.groups, widths, strict=True)
        }
        return cls(kept, graph)

    @cached_property
    def widths(self) -> Widths:
        """Kept channels per group; shape `(groups,)`."""
        return np.array([len(self.kept[name]) for name in self.graph.names], dtype=np.int64)

    @cached_property
    def key(self) -> bytes:
        """Identity of the decision among those for one graph, for caches: 16 bytes."""
        kept = [self.kept[name] for name in self.graph.names]
        flat = [len(kept), *map(len, kept), *itertools.chain.from_iterable(kept)]
        return hashlib.blake2b(np.array(flat, dtype=np.int64).tobytes(), digest_size=16).digest()

    def apply(self, model: nn.Module) -> nn.Module:
        """Return a new, physically smaller model; the original is untouched."""
        return materialise(model, self.graph, self.kept)

    def then(self, second: Plan) -> Plan:
        """Return the plan, in this plan's coordinates, that does both one after the other.

        Args:
            second: a plan for the network that this plan leaves.

        Raises:
            PlanError: if `second` was made for a network of other widths, or removes something
                that could not be removed alone before.
        """
        kept = {}
        for group in self.graph.groups:
            ours = self.kept[group.name]
            if group.name not in second.kept:
                kept[group.name] = ours
                continue
            width = second.graph.group(group.name).width
            if width != len(ours):
                raise PlanError(
                    f"the second plan was made for another network: group {group.name!r} has "
                    f"{width} channels there, and {len(ours)} are left here"
                )
            kept[group.name] = tuple(ours[c] for c in second.kept[group.name])
        for group in second.graph.groups:
            if group.name not in kept and len(second.kept[group.name]) < group.width:
                raise PlanError(
                    f"the second plan removes channels of group {group.name!r}, which this "
                    "network does not have; apply the plans one after the other"
                )
        return Plan(kept, self.graph)

    def save(self, folder: str | Path, small: nn.Module) -> None:
        """Write `plan.json` and `model.safetensors`; see `rlprune.load`."""
        from rlprune.surgery.storage import save_pruned

        save_pruned(Path(folder), self, small)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.kept == other.kept

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{group.name}: {len(self.kept[group.name])}/{group.width}"
            for group in self.graph.groups
        )
        return f"Plan({sizes})"

    def _check(self) -> None:
        for group in self.graph.groups:
            kept = self.kept[group.name]
            if not kept and group.kind == "block":
                continue
            if not kept or kept[0] < 0 or kept[-1] >= group.width:
                raise PlanError(
                    f"group {group.name!r} needs at least one kept channel in "
                    f"0..{group.width - 1}, got {list(kept)[:5]}"
                )
            if group.atoms:
                atoms = np.asarray(group.atoms)
                whole = np.isin(atoms, atoms[list(kept)]).sum()
                if whole != len(kept):
                    raise PlanError(
                        f"group {group.name!r} has channels that are tied in sets of {group.step}; "
                        "keep or remove whole sets"
                    )
