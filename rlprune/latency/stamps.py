"""Time stamps within a forward pass, at the start of every segment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import nn

from rlprune.calling import Inputs, call
from rlprune.latency.clock import Clock
from rlprune.latency.segments import PROLOGUE


class Stamps(Protocol):
    """Takes the time at moments of one forward pass."""

    def mark(self) -> None:
        """Remember this moment."""

    def gaps_ms(self) -> list[float]:
        """Return the milliseconds between consecutive moments, and forget them all."""


class ClockStamps:
    """Reads a clock: for devices that have done the work when a call returns."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds: list[float] = []

    def mark(self) -> None:
        """Remember this moment."""
        self._seconds.append(self._clock())

    def gaps_ms(self) -> list[float]:
        """Return the milliseconds between consecutive moments, and forget them all."""
        seconds, self._seconds = self._seconds, []
        return [1e3 * (b - a) for a, b in pairwise(seconds)]


class EventStamps:
    """Records CUDA events: kernels run on while the next ones are launched."""

    def __init__(self) -> None:
        self._events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """Remember this moment."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._events.append(event)

    def gaps_ms(self) -> list[float]:
        """Return the milliseconds between consecutive moments, and forget them all."""
        torch.cuda.synchronize()
        events, self._events = self._events, []
        return [a.elapsed_time(b) for a, b in pairwise(events)]


@dataclass(frozen=True)
class Instrumented:
    """A network whose forward passes are taken apart, until `remove` is called."""

    model: nn.Module
    stamps: Stamps
    order: list[str]
    handles: list[Any]

    def run(self, batch: Inputs) -> dict[str, float]:
        """Return the milliseconds of every segment of one forward pass that ran at all."""
        self.order[:] = [PROLOGUE]
        self.stamps.mark()
        with torch.inference_mode():
            call(self.model, batch)
        self.stamps.mark()
        found: dict[str, float] = {}
        for name, gap in zip(self.order, self.stamps.gaps_ms(), strict=True):
            found[name] = found.get(name, 0.0) + gap
        return found

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()


def instrument(model: nn.Module, modules: Iterable[str], stamps: Stamps) -> Instrumented:
    """Take a time stamp whenever one of some modules starts; those that were removed do not.

    Args:
        model: in eval mode.
        modules: names of modules of the dense network.
        stamps: on the model's device.
    """
    found = Instrumented(model, stamps, [], [])

    def start(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            found.order.append(name)
            stamps.mark()

        return hook

    known = dict(model.named_modules())
    for name in modules:
        if name != PROLOGUE and name in known:
            found.handles.append(known[name].register_forward_pre_hook(start(name)))
    return found
