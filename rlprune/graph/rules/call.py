"""What a rule sees of an operation, and where rules are registered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlprune.calling import tensors_in
from rlprune.graph.labels import Along, Factors, Shape, Ties, varying

Extent = int | Along
"""Size of a dimension: a number, or the labels of its positions."""


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product: MACs = `macs` times the sizes of its extents.

    Attributes:
        macs: product of all sizes that no label changes, for the whole batch.
        extents: labels of the other dimensions.
        written: labels of the weight's outputs, where it has them.
        read: labels of the weight's inputs, where it has them.
        positions: how often the weight is used for the whole batch.
        depthwise: one filter per channel.
        attends: it multiplies two activations.
        batched: labels of dimensions along which separate products run (heads).
    """

    macs: int
    extents: tuple[Along, ...]
    written: Tensor | None = None
    read: Tensor | None = None
    positions: int = 1
    depthwise: bool = False
    attends: bool = False
    batched: tuple[Along, ...] = ()


@dataclass
class Call:
    """One operation that has just run.

    Attributes:
        name: without namespace, overload and the underscore of in-place operations.
        args: positional arguments.
        kwargs: keyword arguments.
        outputs: its output tensors.
        ties: of the whole pass.
        func: the operation itself.
        lookup: factors of a tensor.
        computed: whether a tensor depends on the input of the model.
        products: filled by contractions.
    """

    func: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Tensor]
    ties: Ties
    lookup: Callable[[Tensor], Factors]
    computed: Callable[[Tensor], bool]
    products: list[Product]

    def factors(self, position: int) -> Factors:
        """Return the factors of a positional tensor argument."""
        value = self.args[position] if position < len(self.args) else None
        return self.lookup(value) if isinstance(value, Tensor) else ()

    def argument(self, position: int, name: str, default: Any) -> Any:
        """Return an argument given by position or by name."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return tensors_in((self.args, self.kwargs))


Rule = Callable[[Call], Sequence[Factors]]
RULES: dict[str, Rule] = {}

UNLABELLED: set[str] = set()
"""Operations whose rule runs even if no label reaches them: products, which cost, and copies."""

LAYER_NORM = "LayerNorm averages over its channels"


def rule(names: str, *, unlabelled: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule for some operations."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names.split(), function))
        UNLABELLED.update(names.split() if unlabelled else ())
        return function

    return register


def extent_of(factors: Factors, dim: int, size: int) -> Extent:
    """Labels of the positions along a dimension, or its size where it has none."""
    for labels in factors:
        if dim in varying(labels):
            return Along(labels, dim)
    return size


def line_of(factors: Factors, dim: int) -> Tensor | None:
    """Labels of the positions along a dimension that no other varies with."""
    extent = extent_of(factors, dim, 0)
    if isinstance(extent, int):
        return None
    labels = extent.labels
    for other in varying(labels) - {dim}:
        labels = labels.narrow(other, 0, 1)
    return labels.reshape(-1)


def first_labelled(one: Extent, other: Extent) -> Extent:
    """Return the extent that has labels, the first if both have."""
    return one if isinstance(one, Along) else other


def channels(factors: Factors, dim: int, size: int) -> Tensor:
    """Labels along one dimension; `ALWAYS` where there are none."""
    line = line_of(factors, dim)
    return torch.zeros(size, dtype=torch.long) if line is None else line


def beside_channels(call: Call, position: int, ndim: int) -> tuple[Factors, Shape]:
    """Return an argument of shape `(channels,)` as it meets a tensor of `ndim` dimensions."""
    shape = (-1, *[1] * (ndim - 2))
    tensor = call.args[position]
    return tuple(f.view(shape) for f in call.factors(position)), (len(tensor), *shape[1:])


def unknown(call: Call) -> Sequence[Factors]:
    """Keep every label that reaches an operation without a rule."""
    for tensor in call.tensors:
        for labels in call.lookup(tensor):
            call.ties.keep(labels, f"the operation {call.name!r} has no rule")
    return [()] * len(call.outputs)
