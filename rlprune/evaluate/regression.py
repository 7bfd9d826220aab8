"""Layers as regressions: what they read, and what they compute, at some positions of samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

RIDGE = 0.01
"""Pull towards no change, in units of the mean square of an input."""

_LEAST = 1e-12  # keeps what reads nothing but zeros solvable

Layer: TypeAlias = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Aim:
    """Some outputs of a layer.

    Attributes:
        places: which positions of all samples, in their order; shape `(rows,)`.
        values: shape `(rows, channels)`.
    """

    places: Tensor
    values: Tensor

    def only(self, channels: npt.NDArray[np.int64] | None) -> Aim:
        """Return the outputs of some channels, or of all."""
        if channels is None:
            return self
        kept = torch.from_numpy(channels).to(self.places.device)
        return replace(self, values=self.values[:, kept])


def is_regression(layer: nn.Module) -> TypeGuard[Layer]:
    """Whether a layer can be solved for; grouped convolutions and unusual padding cannot."""
    if isinstance(layer, nn.Conv2d):
        zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return zeros and layer.groups == 1
    return isinstance(layer, nn.Linear)


def aim_of(output: Tensor, layer: Layer, most: int) -> Aim:
    """Draw at most so many positions of a layer's output; the same ones for the same sizes."""
    last = output.movedim(1, -1) if isinstance(layer, nn.Conv2d) else output
    order = torch.randperm(last[..., 0].numel(), generator=torch.Generator().manual_seed(0))
    places = order[:most].to(output.device)
    return Aim(places, last[torch.unravel_index(places, last.shape[:-1])])


def ridge_regression(x: Tensor, y: Tensor) -> Tensor:
    """Return the `w` with the least `|x w - y|^2 + ridge |w|^2`, by the smaller system of two."""
    rows, inputs = x.shape
    moments = x @ x.T if rows < inputs else x.T @ x
    pull(moments, inputs)
    factor = torch.linalg.cholesky_ex(moments).L
    solution = torch.cholesky_solve(y if rows < inputs else x.T @ y, factor)
    return x.T @ solution if rows < inputs else solution


def pull(moments: Tensor, inputs: int) -> None:
    """Add the ridge to the moments of so many inputs, in place."""
    moments.diagonal().add_((RIDGE * moments.trace() / inputs).clamp(min=_LEAST))


def weights_of(layer: Layer) -> Tensor:
    """Return the weights as `read_at` lines them up; shape `(inputs, outputs)`."""
    weights = layer.weight.movedim(1, -1).flatten(1).T
    return weights if layer.bias is None else torch.cat([weights, layer.bias[None]])


def set_weights(layer: Layer, weights: Tensor) -> None:
    """Give a layer new weights, lined up like those of `weights_of`; the old tensors stay."""
    if layer.bias is not None:
        layer.bias = _like(layer.bias, weights[-1])
        weights = weights[:-1]
    channels_last = weights.T.reshape(layer.weight.movedim(1, -1).shape)
    layer.weight = _like(layer.weight, channels_last.movedim(-1, 1))


def _like(before: Tensor, values: Tensor) -> nn.Parameter:
    """Return values in the memory order of those before: it decides which kernels a network runs.

    `contiguous()` would not do: of weights with a single channel or a 1x1 kernel it leaves strides
    that PyTorch takes for channels-last, and every layer from there on follows.
    """
    kept = torch.empty_like(before, requires_grad=False).copy_(values)
    return nn.Parameter(kept, requires_grad=before.requires_grad)


def read_at(layer: Layer, x: Tensor, places: Tensor) -> Tensor:
    """Return what some outputs of a layer read; shape `(rows, inputs)`.

    The channels of a kernel's first tap come first; ones that a bias reads come last.
    """
    if isinstance(layer, nn.Linear):
        read = x[torch.unravel_index(places, x.shape[:-1])]
    else:
        read = _patches(layer, x, places)
    return read if layer.bias is None else torch.cat([read, read.new_ones(len(read), 1)], 1)


def _patches(layer: nn.Conv2d, x: Tensor, places: Tensor) -> Tensor:
    if isinstance(layer.padding, str):
        raise TypeError("refitted convolutions pad by numbers")
    (above, left), (down, right) = layer.padding, layer.stride
    padded = F.pad(x, (left, left, above, above)).movedim(1, -1)
    samples, height, width, channels = padded.shape
    # Of a kernel's corner and of its taps, the positions in the padded images.
    taps = [
        i * layer.dilation[0] * width + j * layer.dilation[1]
        for i in range(layer.kernel_size[0])
        for j in range(layer.kernel_size[1])
    ]
    outputs = [
        (size - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, dilation in zip(
            (height, width), layer.kernel_size, layer.stride, layer.dilation, strict=True
        )
    ]
    sample, row, column = torch.unravel_index(places, (samples, *outputs))
    corners = (sample * height + row * down) * width + column * right
    positions = corners[:, None] + torch.tensor(taps, device=x.device)
    # Whole rows of channels are copied, which is many times faster than indexing patches.
    read = padded.reshape(-1, channels).index_select(0, positions.flatten())
    return read.reshape(len(places), -1)
