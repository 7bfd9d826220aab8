"""Latency of whole networks, measured beside the dense one."""

from __future__ import annotations

from torch import nn

from rlprune.calling import Inputs, tensors_in
from rlprune.config import LatencySettings
from rlprune.latency.clock import Clock, pick_clock
from rlprune.latency.runtime import prepare
from rlprune.latency.timing import Ratio, compare


class EndToEnd:
    """Times networks against the dense one, as a user would run them.

    Args:
        dense: the dense network, in eval mode.
        batch: inputs of the timed forward pass.
        settings: runtime, rounds and least time per round.
        clock: to read; the steadiest for the device by default.
    """

    def __init__(
        self,
        dense: nn.Module,
        batch: Inputs,
        settings: LatencySettings,
        clock: Clock | None = None,
    ) -> None:
        self._batch = batch
        self._settings = settings
        self._clock = clock or pick_clock(tensors_in(batch)[0].device)
        self._dense = prepare(dense, batch, settings.runtime)

    def kept(self, model: nn.Module) -> Ratio:
        """Return latency of `model` / latency of the dense network."""
        candidate = prepare(model, self._batch, self._settings.runtime)
        return compare(candidate, self._dense, self._settings, self._clock)
