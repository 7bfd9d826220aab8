"""Matrix products and attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rlprune.graph.labels import (
    Along,
    Factors,
    elementwise,
    only_along,
    varying,
)
from rlprune.graph.rules.call import (
    Call,
    Extent,
    Product,
    extent_of,
    first_labelled,
    line_of,
    rule,
    unknown,
)


@rule("mm bmm addmm baddbmm addbmm mv dot", unlabelled=True)
def _matmul(call: Call) -> Sequence[Factors]:
    first = 1 if call.name.startswith(("addm", "badd")) else 0
    left, right = call.args[first], call.args[first + 1]
    if left.ndim == 1 or right.ndim == 1:
        return unknown(call)
    attends = call.computed(left) and call.computed(right)
    output = _contract(
        call, call.factors(first), left, call.factors(first + 1), right, attends=attends
    )
    if first:
        operands = [(call.factors(0), tuple(call.args[0].shape))]
        operands.append((output, tuple(call.outputs[0].shape)))
        output = elementwise(call.ties, operands, "a bias")
    return [output]


def _contract(
    call: Call, a: Factors, left: Tensor, b: Factors, right: Tensor, *, attends: bool
) -> Factors:
    """Labels of a (batched) matrix product: an element-wise product, summed over the middle."""
    batch, (m, k), n = tuple(left.shape[:-2]), tuple(left.shape[-2:]), right.shape[-1]
    extents: list[Extent] = [
        extent_of(a, -2, m),
        first_labelled(extent_of(a, -1, k), extent_of(b, -2, k)),
        extent_of(b, -1, n),
    ]
    for d, size in enumerate(batch):
        dim = d - left.ndim
        extents.append(first_labelled(extent_of(a, dim, size), extent_of(b, dim, size)))
    # a product of two activations has no weight; otherwise it is the factor that is not computed
    left_is_weight = call.computed(right) and not call.computed(left)
    lines: tuple[Tensor | None, Tensor | None] = (None, None)
    if not attends:
        lines = (
            (line_of(a, -2), line_of(a, -1)) if left_is_weight else (line_of(b, -1), line_of(b, -2))
        )
    call.products.append(
        Product(
            math.prod(extent for extent in extents if isinstance(extent, int)),
            tuple(extent for extent in extents if isinstance(extent, Along)),
            *lines,
            positions=(n if left_is_weight else m) * math.prod(batch),
            attends=attends,
            batched=tuple(extent for extent in extents[3:] if isinstance(extent, Along)),
        )
    )
    operands = [
        (tuple(f.unsqueeze(-1) for f in a), (*left.shape, 1)),
        (tuple(f.unsqueeze(-3) for f in b), (*batch, 1, k, n)),
    ]
    together = elementwise(call.ties, operands, "an input of fixed size")
    result = []
    for labels in together:
        along = varying(labels)
        if -2 in along and len(along) > 1:
            labels = call.ties.tie_along(labels, [-2], "its channels are read together")
        elif -2 in along:
            if attends:
                call.ties.average(labels, [-2], "a product of activations sums over its channels")
            continue
        result.append(labels.squeeze(-2))
    return tuple(labels for labels in result if varying(labels))


@rule(
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_attention_math",
    unlabelled=True,
)
def _attention(call: Call) -> Sequence[Factors]:
    query, key, value = call.args[:3]
    keys = tuple(f.transpose(-1, -2) for f in call.factors(1))
    scores = _contract(call, call.factors(0), query, keys, key.transpose(-1, -2), attends=True)
    shape = (*query.shape[:-1], key.shape[-2])
    operands = [(scores, shape)]
    for mask in call.tensors[3:]:
        if mask.is_floating_point() and mask.ndim > 1:
            operands.append((call.lookup(mask), tuple(mask.shape)))
    scores = elementwise(call.ties, operands, "an attention bias")
    scores = only_along(call.ties, scores, set(range(-len(shape), -1)), "softmax runs over it")
    weights = torch.empty(shape, device="meta")
    output = _contract(call, scores, weights, call.factors(2), value, attends=True)
    return [output, *[()] * (len(call.outputs) - 1)]
