"""Least squares: every layer that is left is refitted to what the dense one computes.

Reconstruction layer by layer is that of channel pruning (He et al., ICCV 2017): a layer that reads
pruned channels makes up for what is missing.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.calling import Inputs, call, take
from rlprune.evaluate.batches import most_at_once
from rlprune.evaluate.recalibrate import collecting_statistics
from rlprune.surgery.plan import Plan

RIDGE = 0.01
"""Pull towards the weights as they were, in units of the mean square of an input."""

SAMPLES = 1024
"""Of the train split."""

ROWS = 8192
"""Most positions, of all samples, that one layer is fitted to."""

_LEAST = 1e-12  # keeps what reads nothing but zeros solvable


class LeastSquares:
    """Refits convolutions and linear layers, first to last, in one pass over training samples.

    With `x` the inputs of a layer of the pruned network, whose earlier layers are refitted already,
    and `y` the same outputs of the dense network, the weights become those with the least
    `|x w - y|^2 + ridge |w - w_before|^2`. Left as they are: grouped convolutions, those that pad
    with anything but zeros, and layers that a forward uses more than once.

    Args:
        model: the dense network, in eval mode.
        inputs: of the train split, as those that plans are scored with would be fitted too well,
            the more so the more channels are left; as many are used as fit one forward pass.
        rows: most positions that one layer is fitted to.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, rows: int = ROWS) -> None:
        self._model, self._rows = model, rows
        self._inputs = take(inputs, slice(most_at_once(inputs)))

    def __call__(self, model: nn.Module, plan: Plan) -> None:
        """Refit the weights of the network that a plan left, which shares them with no other."""
        kept = plan.graph.kept_positions(plan.kept)
        with ExitStack() as hooks, collecting_statistics(model), torch.no_grad():
            for name, layer in model.named_modules():
                if name in self._aims:
                    aim = self._aims[name].only(kept.get(f"{name}.weight", {}).get(0))
                    hooks.enter_context(layer.register_forward_pre_hook(partial(_refit, aim=aim)))
            call(model, self._inputs)

    @cached_property
    def _aims(self) -> dict[str, _Aim]:
        """What the dense network's layers compute."""
        found: dict[str, list[_Aim]] = {}

        def record(layer: nn.Module, inputs: Any, output: Tensor, name: str) -> None:
            found.setdefault(name, []).append(_aim(output, layer, self._rows))

        with ExitStack() as hooks, torch.no_grad():
            for name, layer in self._model.named_modules():
                if _is_refitted(layer):
                    hook = partial(record, name=name)
                    hooks.enter_context(layer.register_forward_hook(hook))
            call(self._model, self._inputs)
        return {name: aims[0] for name, aims in found.items() if len(aims) == 1}


@dataclass(frozen=True)
class _Aim:
    """Some outputs of a layer.

    Attributes:
        places: which positions of all samples, in their order; shape `(rows,)`.
        values: shape `(rows, channels)`.
    """

    places: Tensor
    values: Tensor

    def only(self, channels: npt.NDArray[np.int64] | None) -> _Aim:
        """Return the outputs of some channels, or of all."""
        if channels is None:
            return self
        kept = torch.from_numpy(channels).to(self.places.device)
        return replace(self, values=self.values[:, kept])


def _is_refitted(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return zeros and layer.groups == 1
    return isinstance(layer, nn.Linear)


def _aim(output: Tensor, layer: nn.Module, most: int) -> _Aim:
    last = output.movedim(1, -1) if isinstance(layer, nn.Conv2d) else output
    order = torch.randperm(last[..., 0].numel(), generator=torch.Generator().manual_seed(0))
    places = order[:most].to(output.device)
    return _Aim(places, last[torch.unravel_index(places, last.shape[:-1])])


def _refit(layer: nn.Conv2d | nn.Linear, inputs: tuple[Tensor, ...], aim: _Aim) -> None:
    read = _inputs(layer, inputs[0], aim.places)
    channels_last = layer.weight.movedim(1, -1)
    weights = channels_last.flatten(1).T
    if layer.bias is not None:
        read = torch.cat([read, read.new_ones(len(read), 1)], 1)
        weights = torch.cat([weights, layer.bias[None]])
    fitted = weights + _ridge_regression(read, aim.values - read @ weights)
    if not fitted.isfinite().all():  # activations beyond what floating point holds
        return
    if layer.bias is not None:
        layer.bias.copy_(fitted[-1])
        fitted = fitted[:-1]
    channels_last.copy_(fitted.T.reshape(channels_last.shape))


def _ridge_regression(x: Tensor, y: Tensor) -> Tensor:
    """Return the `w` with the least `|x w - y|^2 + ridge |w|^2`, by the smaller system of two."""
    rows, inputs = x.shape
    moments = x @ x.T if rows < inputs else x.T @ x
    ridge = RIDGE * moments.trace() / inputs
    moments.diagonal().add_(ridge.clamp(min=_LEAST))
    factor = torch.linalg.cholesky_ex(moments).L
    solution = torch.cholesky_solve(y if rows < inputs else x.T @ y, factor)
    return x.T @ solution if rows < inputs else solution


def _inputs(layer: nn.Conv2d | nn.Linear, x: Tensor, places: Tensor) -> Tensor:
    """Return what some outputs of a layer read, channels last; shape `(rows, inputs)`."""
    if isinstance(layer, nn.Linear):
        return x[torch.unravel_index(places, x.shape[:-1])]
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
