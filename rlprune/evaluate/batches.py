"""How many samples go through a network at once."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from rlprune.calling import (
    Inputs,
    batch_size,
    call,
    concatenate,
    main_output,
    take,
    tensors_in,
)

MOST_SAMPLES = 512

MOST_POSITIONS = 128 * 32 * 32
"""Of all images of a batch: more activations than these leave the processor's cache."""

MOST_ELEMENTS = 32 * 3 * 224 * 224
"""Of all inputs of a batch: more may not fit into memory."""

FEWEST_SCORED, MOST_SCORED = 16, 512
"""Samples that score a plan by default."""

_MOST_MACS = 64e9  # of the dense network for all of them; about a second on two cores
_SAME_OUTPUTS = 1e-3
_WORTHWHILE = 32  # fewer images at once are slow, however large they are


def batches_of(inputs: Inputs, most: int | None = None) -> list[Inputs]:
    """Cut samples into batches of almost equal size, of what suits one forward pass or `most`.

    None has a single sample, unless there is no other: BatchNorm could not normalise it.
    """
    count = batch_size(inputs)
    number = min(-(-count // (most or _fast(inputs))), max(1, count // 2))
    bounds = [count * i // number for i in range(number + 1)]
    return [take(inputs, slice(*pair)) for pair in itertools.pairwise(bounds)]


def affordable(macs: int) -> int:
    """Return how many samples score a plan by default, given the dense network's MACs for each."""
    return min(MOST_SCORED, max(FEWEST_SCORED, int(_MOST_MACS / max(1, macs))))


def most_at_once(inputs: Inputs) -> int:
    """Return how many samples fit one forward pass, >= 4."""
    elements = sum(tensor[:1].numel() for tensor in tensors_in(inputs))
    return max(4, MOST_ELEMENTS // max(1, elements))


def _fast(inputs: Inputs) -> int:
    positions = max(math.prod(tensor.shape[2:]) for tensor in tensors_in(inputs))
    fitting = most_at_once(inputs)
    return min(MOST_SAMPLES, fitting, max(_WORTHWHILE, MOST_POSITIONS // max(1, positions)))


def forward(model: nn.Module, inputs: Inputs) -> Tensor:
    """Run in batches without gradients; return the main output."""
    with torch.inference_mode():
        return concatenate([main_output(call(model, batch)) for batch in batches_of(inputs)])


def in_fastest_layout(model: nn.Module, inputs: Inputs) -> Inputs:
    """Put the channels of images last, unless the network then fails or computes something else.

    Convolutions follow the layout of their input; in PyTorch they are faster this way.
    """

    def channels_last(tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    converted: Inputs = tree_map(channels_last, inputs)
    few = batches_of(inputs)[0], batches_of(converted)[0]
    with torch.inference_mode():
        expected = main_output(call(model, few[0]))
        try:
            found = main_output(call(model, few[1]))
        except RuntimeError:  # such as a view that needs the other layout
            return inputs
    same = (found - expected).abs().max() <= _SAME_OUTPUTS * expected.abs().max()
    return converted if same else inputs
