"""Layer-wise Optimal Brain Surgeon: what the readers of a channel lose, refitted without it.

A layer that reads channels is a regression of what it computes on what it reads. With `C` the
inverse of that regression's moments, removing the inputs `j` costs `w_j' C_jj^-1 w_j` once all
other weights are refitted (Hassibi and Stork, NIPS 1992; layer by layer Dong et al., NeurIPS 2017;
whole channels Kurtic et al., ZipLM, NeurIPS 2023). It is what the least-squares repair will reach,
so it knows which channels stand in for each other, as norms do not. Channels leave one after the
other, the cheapest first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlprune.calling import call, take
from rlprune.criteria.norms import group_norms
from rlprune.criteria.reading import Reading, read_by_layers
from rlprune.evaluate.batches import most_at_once
from rlprune.evaluate.regression import Layer, aim_of, is_regression, pull, read_at, weights_of

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe
    from rlprune.graph.group_graph import Group

SAMPLES = 512
"""Of the probe."""

ROWS = 4096
"""Most positions, of all samples, that one layer is fitted to."""

_ROUNDS = 64  # of removal; in groups that are wider, several channels leave at a time


class LayerOBS:
    """Share of what its readers compute that is lost once a channel and all cheaper ones are gone.

    A group that no layer reads that could be refitted, as grouped convolutions cannot, is ranked by
    its L2 norm.
    """

    name = "layer-obs"
    needs: frozenset[Need] = frozenset({"samples"})

    def channels(self, probe: Probe) -> ChannelScores:
        """Return squared errors over variance, mean over readers; norms where there are none."""
        readers = _readers(probe)
        scores = group_norms(probe.model, probe.graph)
        for index, group in enumerate(probe.graph.groups):
            if found := readers.get(index):
                scores[group.name] = _errors(group, found)[group.atom_of]
        return scores


class _Reader:
    """A layer as a regression on the channels of one group that are left.

    Args:
        atoms: of the group, that it reads; shape `(atoms,)`.
        inverse: of the regression's moments; shape `(inputs, inputs)`, as many for each atom.
        weights: shape `(inputs, outputs)`.
        scale: what errors are divided by.
    """

    def __init__(self, atoms: Tensor, inverse: Tensor, weights: Tensor, scale: float) -> None:
        self.atoms = atoms
        self._inverse, self._weights, self._scale = inverse, weights, scale
        self._size = len(weights) // len(atoms)

    def costs(self) -> Tensor:
        """Return what each atom's removal adds to the error; shape `(atoms,)`."""
        count, size = len(self.atoms), self._size
        own = self._inverse.view(count, size, count, size).diagonal(dim1=0, dim2=2)
        weights = self._weights.view(count, size, -1)
        solved: Tensor = torch.linalg.inv(own.permute(2, 0, 1)) @ weights
        return (weights * solved).sum((1, 2)) / self._scale

    def remove(self, atoms: Tensor) -> float:
        """Refit the regression without some atoms, and return what that adds to the error."""
        gone = torch.isin(self.atoms, atoms)
        self.atoms = self.atoms[~gone]
        inputs = gone.repeat_interleave(self._size).to(self._inverse.device)
        out, left = inputs.nonzero()[:, 0], (~inputs).nonzero()[:, 0]
        across, lost = self._inverse.index_select(0, out), self._weights.index_select(0, out)
        change = torch.linalg.solve(across.index_select(1, out), torch.cat([lost, across], 1))
        shift, change = change[:, : lost.shape[1]], change[:, lost.shape[1] :].index_select(1, left)
        across = across.index_select(1, left).T
        self._weights = self._weights.index_select(0, left).addmm_(across, shift, alpha=-1)
        rows = self._inverse.index_select(0, left).index_select(1, left)
        self._inverse = rows.addmm_(across, change, alpha=-1)
        return float((lost * shift).sum()) / self._scale


def _errors(group: Group, readers: Sequence[_Reader]) -> Tensor:
    """Return the error by when each atom is gone; shape `(atoms,)`."""
    count = group.width // group.step
    errors = torch.zeros(count, dtype=torch.float64)
    alive, lost = torch.ones(count, dtype=torch.bool), 0.0
    while alive.any():
        costs = torch.zeros(count, dtype=torch.float64)
        for one in readers:
            costs[one.atoms] += one.costs().cpu() / len(readers)
        costs[~alive] = torch.inf
        cheapest = costs.argsort(stable=True)[: min(-(-count // _ROUNDS), int(alive.sum()))]
        errors[cheapest] = lost + costs[cheapest].clamp(min=0)  # not negative but for rounding
        alive[cheapest] = False
        more = sum(one.remove(cheapest) for one in readers) / len(readers)
        lost = max(float(errors.max()), lost + more)
    return errors


def _readers(probe: Probe) -> dict[int, list[_Reader]]:
    """Return the regressions that read each group, by its index."""
    readings: dict[str, list[Reading]] = {}
    for one in read_by_layers(probe.model, probe.graph):
        readings.setdefault(one.module, []).append(one)
    found: dict[int, list[_Reader]] = {}

    def regress(layer: Layer, read: tuple[Tensor, ...], output: Tensor, name: str) -> None:
        own = readings.pop(name, [])  # of a layer that runs more than once, the first time
        if own and read:
            for index, reader in _regressions(layer, read[0], output, own, probe.graph.groups):
                found.setdefault(index, []).append(reader)

    inputs = take(probe.inputs, slice(SAMPLES))
    with ExitStack() as hooks, torch.no_grad():
        for name in readings:
            layer = probe.model.get_submodule(name)
            if is_regression(layer):
                hooks.enter_context(layer.register_forward_hook(partial(regress, name=name)))
        call(probe.model, take(inputs, slice(most_at_once(inputs))))
    return found


def _regressions(
    layer: Layer, read: Tensor, output: Tensor, readings: Sequence[Reading], groups: Sequence[Group]
) -> Iterator[tuple[int, _Reader]]:
    """Yield what a layer is to the groups that it reads, with their indices."""
    aim = aim_of(output, layer, ROWS)
    x, y = read_at(layer, read, aim.places).double(), aim.values.double()
    weights = weights_of(layer).double()
    scale = float((y - y.mean(0)).square().sum())
    moments = x.T @ x
    if scale == 0 or not math.isfinite(scale) or not moments.isfinite().all():
        return
    pull(moments, x.shape[1])
    inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(moments).L)
    taps = torch.arange(layer.weight[0, 0].numel()) * layer.weight.shape[1]
    for one in readings:
        atoms = torch.from_numpy(groups[one.group].atom_of)[one.roots]
        counts = atoms.bincount()
        present = counts.nonzero()[:, 0]
        if (counts[present] == counts[present[0]]).all():
            positions = one.positions[atoms.argsort(stable=True)]
            flat = (positions[:, None] + taps).flatten().to(x.device)
            yield (
                one.group,
                _Reader(present, inverse[flat][:, flat], weights[flat], scale),
            )
