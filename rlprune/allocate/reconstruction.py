"""Reconstruction errors: what cutting a group costs the layers that read it, without evaluations.

A layer that reads pruned channels is refitted by least squares to what it computed before (He et
al., ICCV 2017). What is left of the difference is known after a single pass of the dense network,
for every group and every width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlprune.allocate.curves import curve_cuts
from rlprune.allocate.profiles import Cut
from rlprune.cache.store import Store
from rlprune.calling import Inputs, call, take
from rlprune.evaluate.batches import most_at_once
from rlprune.evaluate.evaluator import Evaluator
from rlprune.evaluate.regression import (
    Layer,
    aim_of,
    is_regression,
    read_at,
    ridge_regression,
    weights_of,
)
from rlprune.graph.group_graph import GroupGraph, Run, mask_of

ROWS = 1024
"""Most positions that one layer is fitted to."""

SAMPLES = 128
"""Of the train split."""

_STORED = "reconstruction-1"  # the number changes with what is measured

Mask: TypeAlias = npt.NDArray[np.bool_]


def profile_reconstruction(evaluator: Evaluator, store: Store) -> npt.NDArray[np.float64]:
    """Return the errors of `curve_cuts`, or look them up; no evaluations are made."""
    known = store.get(_STORED, evaluator.fingerprint)
    if known is not None:
        return np.array(known, dtype=np.float64)
    graph, inputs = evaluator.graph, evaluator.training_inputs(SAMPLES)
    errors = reconstruction_errors(evaluator.model, graph, inputs, curve_cuts(graph))
    store.put(_STORED, evaluator.fingerprint, errors.tolist())
    return errors


def reconstruction_errors(
    model: nn.Module, graph: GroupGraph, inputs: Inputs, cuts: Sequence[Cut]
) -> npt.NDArray[np.float64]:
    """Return the share of what the readers of a group compute that is lost, whatever they do.

    Args:
        model: the dense network, in eval mode.
        graph: its dependency groups, whose ranking says which channels a cut leaves.
        inputs: samples; as many are used as fit one forward pass.
        cuts: groups with the widths that they alone are cut to.

    Returns:
        Squared error over the variance of what is computed, mean over the layers that read the
        group; shape `(cuts,)`, in [0, 1]. Where none can be refitted (blocks, transposed
        convolutions) it is the share of the squared norm that is cut.
    """
    found: dict[int, list[float]] = {}

    def compare(
        layer: Layer, read: tuple[Tensor, ...], output: Tensor, kept: Mapping[int, Tensor]
    ) -> None:
        aim = aim_of(output, layer, ROWS)
        x, weights = read_at(layer, read[0], aim.places), weights_of(layer)
        for cut, columns in kept.items():
            found.setdefault(cut, []).append(_lost(x[:, columns], weights[columns], aim.values))

    layers, stays = dict(model.named_modules()), [_stays(graph, *cut) for cut in cuts]
    with ExitStack() as hooks, torch.no_grad():
        for name, runs in _readers(graph).items():
            layer = layers.get(name)
            if layer is not None and is_regression(layer):
                kept = _columns(layer, graph, runs, cuts, stays)
                hooks.enter_context(layer.register_forward_hook(partial(compare, kept=kept)))
        call(model, take(inputs, slice(most_at_once(inputs))))
    errors = [
        float(np.mean(found[i])) if i in found else _norm_cut(graph, *cut)
        for i, cut in enumerate(cuts)
    ]
    return np.clip(errors, 0.0, 1.0)


def _readers(graph: GroupGraph) -> dict[str, tuple[Run, ...]]:
    """Return the modules whose weight sums over channels of groups, with who controls those."""
    return {
        piece.tensor.removesuffix(".weight"): piece.runs
        for piece in graph.slices
        if piece.reads and piece.dim == 1 and piece.tensor.endswith(".weight")
    }


def _stays(graph: GroupGraph, g: int, width: int) -> Mask:
    group = graph.groups[g]
    return np.isin(np.arange(group.width), group.keep_best(group.scores, width))


def _columns(
    layer: Layer,
    graph: GroupGraph,
    runs: Sequence[Run],
    cuts: Sequence[Cut],
    stays: Sequence[Mask],
) -> dict[int, Tensor]:
    """Return what a layer still reads after each cut that concerns it."""
    concerned, whole = {g for g, _, _ in runs}, [np.ones(n, bool) for n in graph.widths]
    taps, bias = layer.weight[0, 0].numel(), np.ones(int(layer.bias is not None), bool)
    result = {}
    for i, (g, _) in enumerate(cuts):
        if g in concerned:
            mask = mask_of(runs, [*whole[:g], stays[i], *whole[g + 1 :]])
            columns = np.flatnonzero(np.concatenate([np.tile(mask, taps), bias]))
            result[i] = torch.from_numpy(columns).to(layer.weight.device)
    return result


def _lost(x: Tensor, weights: Tensor, y: Tensor) -> float:
    """Return the squared error of the best fit of `y` over its variance."""
    residual = y - x @ weights
    error = residual - x @ ridge_regression(x, residual)
    variance = (y - y.mean(0)).square().sum()
    return float(error.square().sum() / variance.clamp(min=torch.finfo(y.dtype).tiny))


def _norm_cut(graph: GroupGraph, g: int, width: int) -> float:
    group = graph.groups[g]
    squares = np.asarray(group.scores) ** 2
    kept = squares[list(group.keep_best(group.scores, width))].sum()
    return 1.0 - float(kept / squares.sum()) if squares.sum() else 1 - width / group.width
