"""Find out which calls name sizes that are wrong after surgery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from rlprune.calling import Inputs, batch_size, call, repeated
from rlprune.errors import FOREIGN_ERRORS
from rlprune.graph.group_graph import ALWAYS_KEPT, GroupGraph, Resize, Run
from rlprune.graph.numbering import NamingCalls, Numbering
from rlprune.graph.record import Recording
from rlprune.graph.units import Units
from rlprune.graph.verify import partly_kept
from rlprune.surgery.replay import Kept, materialise
from rlprune.surgery.resized import inferred, replaced, requested, reshapes

Handle: TypeAlias = Callable[[Any, Any, Any], Any]

_PATTERNS = 3

Key = tuple[str, str]
"""A module and one of its calls."""


@dataclass(frozen=True)
class _Known:
    """What a call has to name.

    Attributes:
        runs: by slot; the size is the number of positions that stay.
        batch: slots whose size grows with the batch.
        shape: of the result in the dense network, for reshapes.
        uneven: it cuts channels into parts that do not shrink alike, so that a size that is right
            in one pruned network is wrong in another.
    """

    runs: dict[int, tuple[Run, ...]]
    batch: set[int]
    shape: tuple[int, ...]
    uneven: bool


def with_sizes(
    model: nn.Module, graph: GroupGraph, recording: Recording, units: Units, inputs: Inputs
) -> GroupGraph:
    """Return the graph with the sizes that forwards have to be told after surgery.

    A few pruned networks run while every call that names sizes is compared with what its tensors
    need; forwards that read sizes from their tensors or from adapted attributes need no help.

    Args:
        model: the dense network, in eval mode.
        graph: its groups.
        recording: of the dense network.
        units: of the recording.
        inputs: a small batch.
    """
    known = _known_calls(model, graph, recording, units, inputs)
    resizes: dict[Key, Resize] = {}
    # a different share of every group, so that wrong sizes are not right by chance
    channels = [group for group in graph.groups if group.kind != "block"]
    patterns = [partly_kept(graph, channels, seed) for seed in range(_PATTERNS)]
    patterns.append(partly_kept(graph, channels, 0, last=1))
    for kept in patterns if known else ():
        comparison = _Comparison(graph, known, kept, resizes)
        pruned = materialise(model, graph, kept)
        _run(pruned, inputs, comparison.numbering, comparison.compare)
    return graph.model_copy(update={"resizes": tuple(resizes.values())})


def _known_calls(
    model: nn.Module, graph: GroupGraph, recording: Recording, units: Units, inputs: Inputs
) -> dict[Key, _Known]:
    """Return the calls in which a prunable group has a part."""
    known: dict[Key, _Known] = {}
    for one in recording.sized:
        runs = {slot: units.counted(where) for slot, where in one.counted.items()}
        if any(group != ALWAYS_KEPT for run in runs.values() for group, _, _ in run):
            uneven = not one.shape and len({_units_in(run, graph) for run in runs.values()}) > 1
            known.setdefault((one.module, one.call), _Known(runs, set(), one.shape, uneven))
    if known:
        samples = batch_size(inputs)
        others = _shapes(model, repeated(inputs, 1 if samples > 1 else 2))
        for key, call_known in known.items():
            pairs = zip(call_known.shape, others.get(key, ()), strict=False)
            call_known.batch.update(slot for slot, (a, b) in enumerate(pairs) if a != b)
    return known


def _units_in(runs: Sequence[Run], graph: GroupGraph) -> tuple[tuple[tuple[int, int], int], ...]:
    """How many positions follow each unit of each group."""
    counts = Counter[tuple[int, int]]()
    for group, start, length in runs:
        if group == ALWAYS_KEPT:
            counts[group, 0] += length
        else:
            atoms = graph.groups[group].atom_of.tolist()
            counts.update((group, atom) for atom in atoms[start : start + length])
    return tuple(sorted(counts.items()))


def _shapes(model: nn.Module, inputs: Inputs) -> dict[Key, tuple[int, ...]]:
    """Return the shapes that reshapes lead to on another batch."""
    numbering, found = Numbering(), dict[Key, tuple[int, ...]]()

    def remember(func: Any, args: Any, kwargs: Any) -> Any:
        key = numbering.call()
        result = func(*args, **kwargs)
        if reshapes(func):
            found.setdefault(key, tuple(result.shape))
        return result

    _run(model, inputs, numbering, remember)
    return found


def _run(model: nn.Module, inputs: Inputs, numbering: Numbering, handle: Handle) -> None:
    try:
        with torch.inference_mode(), numbering.following(model), NamingCalls(handle):
            call(model, inputs)
    except FOREIGN_ERRORS:
        return  # a forward that fails for another reason is for the verification to report


class _Comparison:
    """Compares the sizes that a pruned network names with those that its tensors need."""

    def __init__(
        self,
        graph: GroupGraph,
        known: Mapping[Key, _Known],
        kept: Kept,
        resizes: dict[Key, Resize],
    ) -> None:
        self.numbering = Numbering()
        self._known, self._resizes = known, resizes
        self._needed = {
            key: dict(zip(one.runs, graph.counts(kept, list(one.runs.values())), strict=True))
            for key, one in known.items()
        }

    def compare(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Make a call as it should be and remember it if that is not as it was asked for."""
        key = self.numbering.call()
        needed, asked = self._needed.get(key, {}), requested(func, args, kwargs)
        wrong = {slot for slot, size in needed.items() if asked.get(slot, size) != size}
        known = self._known.get(key)
        if known is None or not (wrong or known.uneven):
            return func(*args, **kwargs)
        wrong |= set(self._resizes[key].sizes) if key in self._resizes else set()
        if not reshapes(func):
            wrong = set(known.runs)
        open_slot = min(wrong & known.batch, default=None)
        blank = inferred(func, args, kwargs)
        sizes = {slot: known.runs[slot] for slot in sorted(wrong)}
        counts = {slot: needed[slot] for slot in sizes}
        if open_slot is not None and blank is not None:
            fixed = ((ALWAYS_KEPT, 0, known.shape[blank]),)
            sizes[blank] = known.runs.get(blank, fixed)
            counts[blank] = needed.get(blank, known.shape[blank])
        self._resizes[key] = Resize(module=key[0], call=key[1], sizes=sizes, open_slot=open_slot)
        if open_slot is not None:
            counts[open_slot] = -1
        return replaced(func, args, kwargs, counts)
