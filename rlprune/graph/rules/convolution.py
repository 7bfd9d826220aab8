"""Convolutions, plain, grouped and transposed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from rlprune.graph.labels import (
    Along,
    Factors,
    Ties,
    only_along,
)
from rlprune.graph.rules.call import (
    Call,
    Product,
    channels,
    rule,
)


@rule("convolution _convolution", unlabelled=True)
def _convolution(call: Call) -> Sequence[Factors]:
    source, weight, bias = call.args[:3]
    transposed, groups = call.args[6], call.args[8]
    ndim, output = source.ndim, call.outputs[0]
    reason = "a convolution runs over its channels"
    inputs = only_along(call.ties, call.factors(0), {1 - ndim}, reason)
    filters = only_along(call.ties, call.factors(1), {-ndim, 1 - ndim}, "it is a kernel's width")
    rows = channels(filters, -ndim, weight.shape[0])
    columns = channels(filters, 1 - ndim, weight.shape[1])
    reads = channels(inputs, 1 - ndim, source.shape[1])
    if groups == 1:
        ins, outs = (rows, columns) if transposed else (columns, rows)
        call.ties.tie(reads, ins)
        written = outs
    else:
        written = _grouped(call.ties, reads, rows, columns, groups, transposed)
    if isinstance(bias, Tensor):
        call.ties.tie(written, channels(call.factors(2), -1, len(bias)))
    positions = math.prod((source if transposed else output).shape[2:]) * output.shape[0]
    kernel = math.prod(weight.shape[2:])
    depthwise = groups == source.shape[1] == output.shape[1] > 1
    lines = (rows, columns) if groups == 1 else (rows,)
    call.products.append(
        Product(
            positions * kernel * (1 if groups == 1 else weight.shape[1]),
            tuple(Along(line, -1) for line in lines),
            (columns if transposed else rows) if groups == 1 else rows,
            (rows if transposed else columns) if groups == 1 else None,
            positions,
            depthwise,
        )
    )
    view = [1] * ndim
    view[1] = -1
    labels = written.view(view)
    if labels.numel() == 1:
        call.ties.keep(labels, "it has a single channel")
        return [()]
    return [(labels,)]


def _grouped(
    ties: Ties, reads: Tensor, rows: Tensor, columns: Tensor, groups: int, transposed: bool
) -> Tensor:
    """Tie the channels of every group of a grouped convolution: whole groups go."""
    first = reads.view(groups, -1)[:, :1]
    for labels in (reads, rows):
        ties.tie(labels.view(groups, -1), first)
    ties.keep(columns, "the channels of one group of a grouped convolution")
    if not transposed:
        return rows
    return first.expand(groups, len(columns)).reshape(-1)
