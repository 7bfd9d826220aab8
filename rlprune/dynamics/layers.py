"""The weights of a network that are watched, and the layers that read something by them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import scipy.sparse.linalg
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from rlprune.dynamics.record import Weights
from rlprune.errors import DynamicsError, UnknownNameError

_PARAMETRISED = ".parametrizations.weight."
_SMALL = 16
"""Sizes below which all singular values are found at once; Lanczos's method needs more."""


@dataclass(frozen=True)
class Watched:
    """One weight.

    Attributes:
        name: among the model's parameters.
        weight: the parameter itself.
        reader: the layer that reads its input by this weight, or None.
    """

    name: str
    weight: nn.Parameter
    reader: nn.Linear | _ConvNd | None

    @property
    def values(self) -> Tensor:
        """The weight in single precision or better, apart from any graph."""
        detached = self.weight.detach()
        return detached if detached.dtype == torch.float64 else detached.float()

    @property
    def channel_norms(self) -> Tensor:
        """L2 norm of the weights of every output channel; shape `(channels,)`."""
        outputs = int(isinstance(self.reader, _ConvTransposeNd))
        return self.values.movedim(outputs, 0).flatten(1).square().sum(1).sqrt()


def watched(model: nn.Module, names: Sequence[str] | None = None) -> tuple[Watched, ...]:
    """Return weights to watch, in the order of the model's parameters.

    Args:
        model: any module.
        names: of its parameters with two or more dimensions; all of these when None.

    Raises:
        DynamicsError: if there is none.
        UnknownNameError: if one does not exist, or has fewer dimensions.
    """
    weights = {name: one for name, one in model.named_parameters() if one.ndim > 1}
    if not weights:
        raise DynamicsError(
            f"{type(model).__name__} has no weights of two or more dimensions to watch; give a "
            "network with layers that learn"
        )
    for name in names or ():
        if name not in weights:
            raise UnknownNameError("weight", name, weights)
    modules = dict(model.named_modules())
    return tuple(
        Watched(name, one, _reader(modules, name))
        for name, one in weights.items()
        if names is None or name in names
    )


def weights_of(layer: Watched) -> Weights:
    """Return what the weight itself tells."""
    matrix = layer.values.double().flatten(1).cpu()
    total = float(matrix.square().sum())
    if total == 0 or not math.isfinite(total):
        return Weights(stable_rank=total)  # which refuses what is not finite
    return Weights(stable_rank=total / _spectral_norm(matrix) ** 2 / min(matrix.shape))


def _spectral_norm(matrix: Tensor) -> float:
    if min(matrix.shape) < _SMALL:
        return float(torch.linalg.matrix_norm(matrix, 2))
    start = torch.ones(min(matrix.shape), dtype=torch.float64).numpy()
    (largest,) = scipy.sparse.linalg.svds(
        matrix.numpy(), k=1, v0=start, return_singular_vectors=False
    )
    return float(largest)


def _reader(modules: dict[str, nn.Module], name: str) -> nn.Linear | _ConvNd | None:
    """The layer whose weight a parameter is, or is made of."""
    owner, _, attribute = name.rpartition(".")
    if _PARAMETRISED in name:
        owner, attribute = name.partition(_PARAMETRISED)[0], "weight"
    layer = modules.get(owner)
    return layer if attribute == "weight" and isinstance(layer, nn.Linear | _ConvNd) else None
