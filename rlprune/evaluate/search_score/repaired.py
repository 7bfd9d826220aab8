"""A score after least squares: every layer is refitted to what the dense one computes.

Reconstruction layer by layer is that of channel pruning (He et al., ICCV 2017): a layer that reads
pruned channels makes up for what is missing.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.calling import batch_size, call, take
from rlprune.evaluate.recalibrate import collecting_statistics
from rlprune.evaluate.search_score.base import Scene
from rlprune.surgery.plan import Plan

RIDGE = 0.01
"""Pull towards the weights as they were, in units of the mean square of an input."""

SAMPLES = 512
"""Of the train split."""

ROWS = 4096
"""Most positions, of all samples, that one layer is fitted to."""

_DRAWN_FROM = 4 * ROWS  # more would only take memory
_LEAST = 1e-12  # keeps what reads nothing but zeros solvable


class LeastSquares:
    """Refits convolutions and linear layers, first to last, in one pass over training samples.

    With `x` the inputs of a layer of the pruned network, whose earlier layers are refitted already,
    and `y` the same outputs of the dense network, the weights become those with the least
    `|x w - y|^2 + ridge |w - w_before|^2`. Left as they are: grouped convolutions, those that pad
    with anything but zeros, and layers that a forward uses more than once.

    Args:
        scene: with training samples; as many are used as there are in one batch of the others.
    """

    def __init__(self, scene: Scene) -> None:
        if scene.training is None:
            raise ValueError("least squares need samples of the train split")
        self._scene = scene
        # Those that are scored would be fitted too well, the more so the more channels are left.
        self._samples = take(scene.training[0], slice(batch_size(scene.batches[0])))

    def __call__(self, model: nn.Module, plan: Plan) -> None:
        """Refit the weights of the network that a plan left."""
        kept = self._scene.graph.kept_positions(plan.kept)
        with ExitStack() as hooks, collecting_statistics(model), torch.no_grad():
            for name, layer in model.named_modules():
                if name in self._aims:
                    aim = self._aims[name].only(kept.get(f"{name}.weight", {}).get(0))
                    hooks.enter_context(layer.register_forward_pre_hook(partial(_refit, aim=aim)))
            call(model, self._samples)

    @cached_property
    def _aims(self) -> dict[str, _Aim]:
        """What the dense network's layers compute."""
        found: dict[str, list[_Aim]] = {}

        def record(layer: nn.Module, inputs: Any, output: Tensor, name: str) -> None:
            found.setdefault(name, []).append(_aim(output, layer))

        model = self._scene.model
        with ExitStack() as hooks, torch.no_grad():
            for name, layer in model.named_modules():
                if _is_refitted(layer):
                    hook = partial(record, name=name)
                    hooks.enter_context(layer.register_forward_hook(hook))
            call(model, self._samples)
        return {name: aims[0] for name, aims in found.items() if len(aims) == 1}


@dataclass(frozen=True)
class _Aim:
    """Some outputs of a layer.

    Attributes:
        samples: how many of the first ones they are of.
        places: which positions of these samples, in their order; shape `(rows,)`.
        values: shape `(rows, channels)`.
    """

    samples: int
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


def _aim(output: Tensor, layer: nn.Module) -> _Aim:
    last = output.movedim(1, -1) if isinstance(layer, nn.Conv2d) else output
    positions = math.prod(last.shape[1:-1])
    samples = min(len(last), -(-_DRAWN_FROM // positions))
    rows = last[:samples].reshape(-1, last.shape[-1])
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    places = order[:ROWS].to(rows.device)
    return _Aim(samples, places, rows[places])


def _refit(layer: nn.Conv2d | nn.Linear, inputs: tuple[Tensor, ...], aim: _Aim) -> None:
    read = _inputs(layer, inputs[0][: aim.samples])[aim.places]
    before = layer.weight.flatten(1).T
    if layer.bias is not None:
        read = torch.cat([read, read.new_ones(len(read), 1)], 1)
        before = torch.cat([before, layer.bias[None]])
    moments = read.T @ read
    ridge = RIDGE * moments.diagonal().mean().clamp(min=_LEAST)
    moments.diagonal().add_(ridge)
    fitted = torch.linalg.solve(moments, read.T @ aim.values + ridge * before)
    if layer.bias is not None:
        layer.bias.copy_(fitted[-1])
        fitted = fitted[:-1]
    layer.weight.copy_(fitted.T.reshape(layer.weight.shape))


def _inputs(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    """Return what every output of a layer reads; shape `(positions of all samples, inputs)`."""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1])
    if isinstance(layer.padding, str):
        raise TypeError("refitted convolutions pad by numbers")
    read = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return read.transpose(1, 2).flatten(0, 1)
