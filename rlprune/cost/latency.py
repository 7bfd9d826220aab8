"""Measured latency: interleaved with the dense model, medians, fixed threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.benchmark import Timer

from rlprune.calling import Inputs, call, repeated
from rlprune.config import LatencySettings


@dataclass(frozen=True)
class Latency:
    """Milliseconds per forward pass of one batch, over interleaved rounds."""

    median_ms: float
    p90_ms: float


def measure_interleaved(
    models: Mapping[str, nn.Module], batch: Inputs, settings: LatencySettings
) -> dict[str, list[float]]:
    """Time several models side by side, one after the other in every round.

    Interleaving makes slow phases of the machine hit all models alike, so ratios between them are
    far steadier than their absolute times. Timing itself (warm-up, threads, CUDA synchronisation)
    is `torch.utils.benchmark.Timer`.

    Args:
        models: `{name: model}`, in eval mode on the batch's device.
        batch: inputs of the timed forward pass.
        settings: rounds and the least time per round; torch's own thread count is used.

    Returns:
        `{name: milliseconds per forward pass, one entry per round}`.
    """
    timers = {
        name: Timer(
            stmt="call(model, batch)",
            globals={"call": call, "model": model, "batch": batch},
            num_threads=torch.get_num_threads(),
        )
        for name, model in models.items()
    }
    samples: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        repeats = {}
        for name, timer in timers.items():
            timer.timeit(2)
            once_ms = timer.timeit(2).mean * 1e3
            repeats[name] = max(1, round(settings.round_ms / max(once_ms, 1e-3)))
        for _ in range(settings.rounds):
            for name, timer in timers.items():
                samples[name].append(timer.timeit(repeats[name]).mean * 1e3)
    return samples


def summarise(samples_ms: Sequence[float]) -> Latency:
    """Return median and 90th percentile of the rounds."""
    return Latency(float(np.median(samples_ms)), float(np.quantile(samples_ms, 0.9)))


def ratio(samples_ms: Sequence[float], reference_ms: Sequence[float]) -> float:
    """Return the median over rounds of sample / reference, each from the same round."""
    return float(np.median(np.asarray(samples_ms) / np.asarray(reference_ms)))


class LatencyMeter:
    """Measures candidates against the dense model; the evaluator asks for latency only here.

    Args:
        dense: the dense model, in eval mode.
        example: a batch of one or more samples, repeated to the timed batch size.
        settings: how to time.
    """

    def __init__(self, dense: nn.Module, example: Inputs, settings: LatencySettings) -> None:
        self._dense = dense
        self._settings = settings
        self._batch = repeated(example, settings.batch_size)

    def kept(self, model: nn.Module) -> float:
        """Return measured latency of `model` / latency of the dense model."""
        samples = measure_interleaved(
            {"dense": self._dense, "model": model}, self._batch, self._settings
        )
        return ratio(samples["model"], samples["dense"])
