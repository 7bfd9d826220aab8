"""The staircase of a device: to what multiple channels can be rounded up at almost no cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rlprune.config import LatencySettings
from rlprune.latency.clock import Clock, pick_clock
from rlprune.latency.runtime import prepare
from rlprune.latency.timing import measure_interleaved, ratio

MULTIPLES = (1, 2, 4, 8, 16, 32)

TOLERANCE = 0.04
"""How much longer than before a convolution may take when rounding up costs almost nothing."""

_WIDTHS = (32, 64)
_CASES = ((3, 16), (3, 8), (1, 16), (1, 8))  # kernel, height and width of the image


@dataclass(frozen=True)
class Granularity:
    """The result, with what was measured.

    Attributes:
        channels: the largest multiple that all smaller ones lead up to at almost no cost.
        ratios: `{multiple: latency after rounding up / before, of every convolution}`; before, the
            widths are the narrowest that are rounded up to the same ones.
    """

    channels: int
    ratios: dict[int, tuple[float, ...]]

    def __str__(self) -> str:
        steps = (f"{multiple}: {np.median(r):.2f}" for multiple, r in self.ratios.items())
        return f"{self.channels} channels (latency after rounding up / before: {', '.join(steps)})"


def measure_granularity(
    device: torch.device, settings: LatencySettings, clock: Clock | None = None
) -> Granularity:
    """Time convolutions before and after their channels are rounded up, interleaved.

    The convolutions are always the same: 3 x 3 and 1 x 1, of 32 and 64 channels, on small images.

    Args:
        device: to measure.
        settings: batch size, rounds, least time per round and runtime.
        clock: to read; the steadiest for the device by default.
    """
    clock = clock or pick_clock(device)
    ratios = {
        multiple: tuple(
            _rounding(kernel, image, width, width - multiple + 1, device, settings, clock)
            for kernel, image in _CASES
            for width in _WIDTHS
            if width > multiple
        )
        for multiple in MULTIPLES[1:]
    }
    channels = MULTIPLES[0]
    for multiple, measured in ratios.items():
        if np.median(measured) > 1.0 + TOLERANCE:
            break
        channels = multiple
    return Granularity(channels, ratios)


def _rounding(
    kernel: int,
    image: int,
    rounded: int,
    narrow: int,
    device: torch.device,
    settings: LatencySettings,
    clock: Clock,
) -> float:
    calls = {}
    for name, width in (("rounded", rounded), ("narrow", narrow)):
        layer = nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False).to(device).eval()
        batch = torch.ones(settings.batch_size, width, image, image, device=device)
        calls[name] = prepare(layer, batch, settings.runtime)
    samples = measure_interleaved(calls, settings, clock)
    return ratio(samples["rounded"], samples["narrow"])
