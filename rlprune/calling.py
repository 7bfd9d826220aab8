"""What goes into a network and what comes out: one tensor, a tuple or a dict of tensors.

Every tensor has the batch along its first dimension; values may be nested further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from rlprune.errors import ModelError

Inputs: TypeAlias = Tensor | tuple[Tensor, ...] | dict[str, Tensor]

MAIN_OUTPUTS = ("logits", "out", "output")
"""Entries of a dict that a task reads, the first that is there."""

_Tree = TypeVar("_Tree")


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Run a model: a tensor is its only argument, a tuple its arguments, a dict its keywords."""
    if isinstance(inputs, tuple):
        return model(*inputs)
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(inputs)


def main_output(outputs: Any) -> Tensor:
    """Return the tensor that a task reads from whatever a model returned.

    That is the output itself, or one of `MAIN_OUTPUTS` by name, or the first floating-point tensor.

    Raises:
        ModelError: if there is none.
    """
    if isinstance(outputs, Tensor):
        return outputs
    named = dict(outputs) if isinstance(outputs, Mapping) else {}
    candidates = [named[name] for name in MAIN_OUTPUTS if name in named]
    for found in (*candidates, *tensors_in(named or outputs)):
        if isinstance(found, Tensor) and found.is_floating_point():
            return found
    raise ModelError(
        f"the model returns {type(outputs).__name__} with no floating-point tensor in it; return "
        "a tensor, a tuple that begins with one, or a dict with 'logits'"
    )


def tensors_in(value: Any) -> list[Tensor]:
    """Return all tensors of a nested value, in its order."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def shapes(value: Any) -> Any:
    """Return the value with a shape in place of every tensor, to compare or to print."""
    return tree_map(lambda leaf: tuple(leaf.shape) if isinstance(leaf, Tensor) else leaf, value)


def batch_size(inputs: Inputs) -> int:
    """Return how many samples a batch holds."""
    return len(tensors_in(inputs)[0])


def to_device(value: _Tree, device: torch.device) -> _Tree:
    """Move all tensors to a device."""
    return cast(_Tree, tree_map(lambda tensor: tensor.to(device), value))


def take(inputs: Inputs, index: slice | Tensor) -> Inputs:
    """Select samples of a batch."""
    return cast(Inputs, tree_map(lambda tensor: tensor[index], inputs))


def repeated(inputs: Inputs, size: int) -> Inputs:
    """Return a batch of exactly `size` samples, beginning again where they run out."""
    copies = -(-size // batch_size(inputs))

    def repeat(tensor: Tensor) -> Tensor:
        return tensor.repeat(copies, *(1 for _ in tensor.shape[1:]))[:size]

    return cast(Inputs, tree_map(repeat, inputs))


def concatenate(batches: Sequence[_Tree]) -> _Tree:
    """Join the outputs of several batches, of one structure, along the first dimension."""
    return cast(_Tree, tree_map(lambda *tensors: torch.cat(tensors), *batches))
