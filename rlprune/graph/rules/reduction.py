"""Operations that sum, average or compare along dimensions, and pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rlprune.graph.labels import (
    Factors,
    only_along,
    reduce,
    varying,
)
from rlprune.graph.rules.call import (
    Call,
    rule,
)
from rlprune.graph.rules.elementwise import follow_elementwise


def _negative(dims: Any, ndim: int) -> list[int]:
    if dims is None or dims == []:
        return [d - ndim for d in range(ndim)]
    return [d % ndim - ndim for d in ([dims] if isinstance(dims, int) else dims)]


@rule("mean sum amax amin max min var std var_mean std_mean linalg_vector_norm norm prod logsumexp")
def _reduction(call: Call) -> Sequence[Factors]:
    ndim = call.args[0].ndim
    position = 2 if call.name in ("linalg_vector_norm", "norm") else 1
    if call.name in ("max", "min") and len(call.args) > 1 and isinstance(call.args[1], Tensor):
        return follow_elementwise(call)
    dims = _negative(call.argument(position, "dim", None), ndim)
    factors = reduce(call.ties, call.factors(0), dims, f"{call.name} runs over its channels")
    if call.outputs[0].ndim < ndim:
        for dim in sorted(d + ndim for d in dims)[::-1]:
            factors = tuple(f.squeeze(dim) for f in factors)
    return [factors] * len(call.outputs)


@rule("_softmax softmax _safe_softmax _log_softmax cumsum cumprod")
def _softmax(call: Call) -> Sequence[Factors]:
    dim = call.args[1] % call.args[0].ndim - call.args[0].ndim
    name = call.name.strip("_")
    kept = [
        call.ties.tie_along(f, [dim] if dim in varying(f) else [], f"{name} runs over its channels")
        for f in call.factors(0)
    ]
    return [tuple(f for f in kept if varying(f))]


@rule(
    "avg_pool1d avg_pool2d avg_pool3d max_pool2d_with_indices max_pool3d_with_indices max_pool2d "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d "
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d "
    "upsample_bicubic2d upsample_linear1d upsample_trilinear3d _upsample_bicubic2d_aa "
    "_upsample_bilinear2d_aa _upsample_nearest_exact2d mkldnn_max_pool2d grid_sampler_2d"
)
def _spatial(call: Call) -> Sequence[Factors]:
    ndim = call.args[0].ndim
    spatial = {"1": 1, "2": 2, "3": 3}[next(c for c in call.name if c.isdigit())]
    outside = {d - ndim for d in range(ndim - spatial)}
    factors = only_along(call.ties, call.factors(0), outside, f"{call.name} runs over its channels")
    for grid in call.tensors[1:]:
        for labels in call.lookup(grid):
            call.ties.keep(labels, f"{call.name} takes it for positions")
    return [factors] * len(call.outputs)


@rule("im2col col2im")
def _columns(call: Call) -> Sequence[Factors]:
    source, output = call.args[0], call.outputs[0]
    name = call.name
    factors = only_along(call.ties, call.factors(0), {1 - source.ndim}, f"{name} over channels")
    kernel = math.prod(call.args[1] if name == "im2col" else call.args[2])
    result = []
    for labels in factors:
        channels = labels.reshape(-1)
        if name == "im2col":
            spread = channels.repeat_interleave(kernel)
        else:
            patches = channels.view(-1, kernel)
            spread = call.ties.tie_along(patches, [-1], "col2im adds its channels").reshape(-1)
        shape = [1] * output.ndim
        shape[1] = len(spread)
        result.append(spread.view(shape))
    return [tuple(result)]
