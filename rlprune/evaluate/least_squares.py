"""Least squares: every layer that is left is refitted to what the dense one computes.

Reconstruction layer by layer is that of channel pruning (He et al., ICCV 2017): a layer that reads
pruned channels makes up for what is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlprune.calling import Inputs, call, take
from rlprune.evaluate.batches import in_fastest_layout, most_at_once
from rlprune.evaluate.recalibrate import collecting_statistics
from rlprune.evaluate.regression import (
    Aim,
    Layer,
    aim_of,
    is_regression,
    read_at,
    ridge_regression,
    set_weights,
    weights_of,
)

SAMPLES = 1024
"""Of the train split."""

Outputs: TypeAlias = Mapping[str, npt.NDArray[np.int64]]
"""Outputs of the dense network's layers, `{weight: positions in its first dimension}`."""

ROWS = 8192
"""Most positions, of all samples, that one layer is fitted to."""


class LeastSquares:
    """Refits convolutions and linear layers, first to last, in one pass over training samples.

    With `x` the inputs of a layer of the pruned network, whose earlier layers are refitted already,
    and `y` the same outputs of the dense network, the weights become those with the least
    `|x w - y|^2 + ridge |w - w_before|^2`. Left as they are: grouped convolutions, those that pad
    with anything but zeros, layers that a forward uses more than once, and those that share their
    weight with another one.

    Args:
        model: the dense network, in eval mode.
        inputs: of the train split, as those that plans are scored with would be fitted too well,
            the more so the more channels are left; as many are used as fit one forward pass.
        rows: most positions that one layer is fitted to.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, rows: int = ROWS) -> None:
        self._model, self._rows = model, rows
        self._inputs = in_fastest_layout(model, take(inputs, slice(most_at_once(inputs))))

    def __call__(self, model: nn.Module, outputs: Outputs) -> None:
        """Give layers of a pruned network new weights; the memory of the old ones stays as it is.

        Args:
            model: what a plan leaves of the dense network.
            outputs: which outputs of each layer stay, by its weight; all where it is not named.
        """
        with ExitStack() as hooks, collecting_statistics(model), torch.no_grad():
            for name, layer in model.named_modules():
                if name in self._aims:
                    aim = self._aims[name].only(outputs.get(f"{name}.weight"))
                    hooks.enter_context(layer.register_forward_pre_hook(partial(_refit, aim=aim)))
            call(model, self._inputs)

    @cached_property
    def _aims(self) -> dict[str, Aim]:
        """What the dense network's layers compute."""
        found: dict[str, list[Aim]] = {}
        users = Counter(id(one) for _, one in self._model.named_parameters(remove_duplicate=False))

        def record(layer: Layer, inputs: Any, output: Tensor, name: str) -> None:
            found.setdefault(name, []).append(aim_of(output, layer, self._rows))

        with ExitStack() as hooks, torch.no_grad():
            for name, layer in self._model.named_modules():
                if is_regression(layer) and users[id(layer.weight)] == 1:
                    hook = partial(record, name=name)
                    hooks.enter_context(layer.register_forward_hook(hook))
            call(self._model, self._inputs)
        return {name: aims[0] for name, aims in found.items() if len(aims) == 1}


def _refit(layer: Layer, inputs: tuple[Tensor, ...], aim: Aim) -> None:
    read, weights = read_at(layer, inputs[0], aim.places), weights_of(layer)
    fitted = weights + ridge_regression(read, aim.values - read @ weights)
    if fitted.isfinite().all():  # activations beyond what floating point holds stay as they are
        set_weights(layer, fitted)
