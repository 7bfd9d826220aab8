"""How weights move: since half of the training, and from checkpoint to checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlprune.dynamics.layers import Watched
from rlprune.dynamics.record import Drift

KEPT = 0.5
"""Share of channels that a mask keeps."""


class Checkpoints:
    """The weights at half-way, and the masks at the last two checkpoints."""

    def __init__(self, layers: Sequence[Watched]) -> None:
        self._layers = layers
        self._halfway: dict[str, Tensor] = {}
        self._masks: list[dict[str, Tensor]] = []

    def halfway(self) -> None:
        """Keep a copy of the weights."""
        self._halfway = {layer.name: layer.values.clone() for layer in self._layers}

    def epoch(self) -> None:
        """Keep which channels are the larger half now."""
        masks = {layer.name: larger_half(layer.channel_norms) for layer in self._layers}
        self._masks = [*self._masks[-1:], masks]

    def summary(self, layer: Watched) -> Drift:
        """Return the indicators of one weight."""
        return Drift(weight_drift=self._drift(layer), mask_distance=self._distance(layer.name))

    def _drift(self, layer: Watched) -> float | None:
        before = self._halfway.get(layer.name)
        if before is None:
            return None
        now = layer.values
        size = float(now.norm())
        return float((now - before.to(now)).norm()) / size if size else 0.0

    def _distance(self, name: str) -> float | None:
        if len(self._masks) < 2:
            return None
        before, after = (masks[name] for masks in self._masks)
        return float((before != after).double().mean())


def larger_half(norms: Tensor) -> Tensor:
    """Mark the larger half of channels, the first of equals; shape `(channels,)`."""
    kept = torch.zeros(len(norms), dtype=torch.bool)
    best = norms.cpu().argsort(descending=True, stable=True)
    kept[best[: round(KEPT * len(norms))]] = True
    return kept
