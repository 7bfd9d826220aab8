"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rlprune.graph.labels import (
    Factors,
    aligned,
    elementwise,
    only_along,
)
from rlprune.graph.rules.call import (
    LAYER_NORM,
    Call,
    beside_channels,
    rule,
)


@rule("native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm batch_norm")
def _batch_norm(call: Call) -> Sequence[Factors]:
    source = call.args[0]
    ndim = source.ndim
    for labels in call.factors(0) if call.args[5] else ():
        others = set(range(-ndim, 0)) - {1 - ndim}
        call.ties.average(labels, sorted(others), "BatchNorm averages over its channels")
    operands = [(call.factors(0), tuple(source.shape))]
    for position in range(1, 5):
        if isinstance(call.args[position], Tensor):
            operands.append(beside_channels(call, position, ndim))
    return [elementwise(call.ties, operands, "BatchNorm"), *[()] * (len(call.outputs) - 1)]


@rule("native_layer_norm _fused_rms_norm rms_norm")
def _layer_norm(call: Call) -> Sequence[Factors]:
    source, normalised = call.args[0], len(call.args[1])
    for labels in call.factors(0):
        call.ties.average(labels, range(-normalised, 0), LAYER_NORM)
    operands = [
        (call.factors(i), tuple(call.args[i].shape))
        for i in (0, 2, 3)
        if isinstance(call.args[i], Tensor)
    ]
    factors = elementwise(call.ties, operands, "LayerNorm")
    return [tuple(aligned(f, source.ndim) for f in factors), *[()] * (len(call.outputs) - 1)]


@rule("native_group_norm")
def _group_norm(call: Call) -> Sequence[Factors]:
    source, groups = call.args[0], call.args[6]
    ndim = source.ndim
    factors = only_along(call.ties, call.factors(0), {1 - ndim}, "GroupNorm runs over its channels")
    for labels in factors:
        if groups == 1:
            call.ties.average(labels, [1 - ndim], LAYER_NORM)
        else:
            call.ties.tie_along(labels.reshape(groups, -1), [-1], "GroupNorm has one group")
    operands = [(factors, tuple(source.shape))]
    operands += [beside_channels(call, i, ndim) for i in (1, 2) if isinstance(call.args[i], Tensor)]
    return [elementwise(call.ties, operands, "GroupNorm"), (), ()]
