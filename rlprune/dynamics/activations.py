"""What layers read, summed up while the network runs; nothing that was seen is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.hooks import RemovableHandle

from rlprune.dynamics.layers import Watched
from rlprune.dynamics.record import Activations

ROWS = 4096
"""Points (pixels or tokens) of a batch that are looked at, evenly spread over its samples."""

CHANNELS = 128
"""Channels whose covariance is taken, evenly spread over all."""


class ActivationSums:
    """Means, zeros and covariance of channels, merged batch by batch (Chan et al., 1983)."""

    def __init__(self) -> None:
        self._count = 0
        self._size = 0.0
        self._nonzero = torch.zeros(0, dtype=torch.int64)
        self._mean = self._products = torch.zeros(0, dtype=torch.float64)

    @torch.no_grad()
    def add(self, values: Tensor, dim: int) -> None:
        """Take in what a layer reads.

        Args:
            values: any shape.
            dim: dimension of the channels, counted from the end.
        """
        rows = _rows(values.detach(), dim)
        some = rows if rows.shape[1] <= CHANNELS else rows[:, _spread(rows.shape[1])]
        means = some.mean(0)
        centred = some - means
        self._merge(len(rows), means, centred.T @ centred)
        self._size += float(rows.norm(1))
        nonzero = rows.count_nonzero(0).cpu()
        self._nonzero = self._nonzero + nonzero if len(self._nonzero) else nonzero

    def summary(self) -> Activations | None:
        """Return the indicators, or None if nothing was seen."""
        if not self._count:
            return None
        covariance = self._products / self._count
        channels = len(self._nonzero)
        return Activations(
            mean_abs=self._size / (self._count * channels),
            apoz=1 - float(self._nonzero.sum()) / (self._count * channels),
            dead=float(self._nonzero.eq(0).double().mean()),
            correlation=_correlation(covariance),
            effective_rank=_effective_rank(covariance),
        )

    def _merge(self, count: int, means: Tensor, products: Tensor) -> None:
        means, products = means.to("cpu", torch.float64), products.to("cpu", torch.float64)
        if not self._count:
            self._count, self._mean, self._products = count, means, products
            return
        total = self._count + count
        shift = means - self._mean
        self._products += products
        self._products.addr_(shift, shift, alpha=self._count * count / total)
        self._mean += shift * (count / total)
        self._count = total


class Hooks:
    """Hooks on the layers that read by watched weights; `remove` takes them away.

    Args:
        layers: what is watched.
        active: whether what passes now is to be looked at.
    """

    def __init__(self, layers: Sequence[Watched], active: Callable[[], bool]) -> None:
        self._readers = {one.name: one.reader for one in layers if one.reader is not None}
        self._active = active
        self._handles: list[RemovableHandle] = []
        self._sums: dict[str, ActivationSums] = {}

    def attach(self) -> None:
        """Put the hooks on, where they are not yet."""
        if not self._handles:
            self._handles = [
                reader.register_forward_pre_hook(self._hook(name), with_kwargs=True)
                for name, reader in self._readers.items()
            ]

    def remove(self) -> None:
        """Take the hooks away; what was seen stays."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def reset(self) -> None:
        """Forget what was seen."""
        self._sums.clear()

    def summary(self, weight: str) -> Activations | None:
        """Return the indicators of one weight's layer, or None if it read nothing."""
        return self._sums[weight].summary() if weight in self._sums else None

    def _hook(self, name: str) -> Callable[..., None]:
        def look(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self._active():
                values = args[0] if args else kwargs["input"]
                dim = -1 - len(module.kernel_size) if isinstance(module, _ConvNd) else -1
                self._sums.setdefault(name, ActivationSums()).add(values, dim)

        return look


def _rows(values: Tensor, dim: int) -> Tensor:
    """Return some points in single precision or better; shape `(rows, channels)`."""
    points = values.numel() // max(1, values.shape[dim])
    some = values[:: max(1, points // ROWS)] if values.ndim > -dim else values
    rows = some.movedim(dim, -1).reshape(-1, values.shape[dim])
    return rows if rows.dtype == torch.float64 else rows.float()


def _spread(width: int) -> Tensor:
    return torch.linspace(0, width - 1, CHANNELS).round().long()


def _correlation(covariance: Tensor) -> float:
    deviations = covariance.diagonal().clamp_min(0).sqrt()
    varies = deviations > 0
    count = int(varies.sum())
    if count < 2:
        return 0.0
    some, scale = covariance[varies][:, varies], deviations[varies]
    correlations = (some / torch.outer(scale, scale)).abs().clamp_max(1)
    return float((correlations.sum() - correlations.diagonal().sum()) / (count * (count - 1)))


def _effective_rank(covariance: Tensor) -> float:
    if not bool(covariance.isfinite().all()):
        return math.nan  # which a record refuses
    values = torch.linalg.eigvalsh(covariance).clamp_min(0)
    if float(values.sum()) == 0:
        return 0.0
    entropy = torch.special.entr(values / values.sum()).sum()
    return float(entropy.exp()) / len(values)
