"""Latency is measured by running both models side by side; no test depends on a clock."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rlprune.config import LatencySettings
from rlprune.cost.latency import LatencyMeter, measure_interleaved, ratio, summarise

SETTINGS = LatencySettings(batch_size=5, rounds=3, round_ms=0.001)


class Counter(nn.Module):
    """Remembers every call in a log that models share."""

    def __init__(self, name: str, log: list[tuple[str, tuple[int, ...]]]) -> None:
        super().__init__()
        self.name, self.log = name, log

    def forward(self, x: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        self.log.append((self.name, tuple(x.shape)))
        return x


def test_a_meter_really_runs_both_models_on_whole_batches() -> None:
    log: list[tuple[str, tuple[int, ...]]] = []
    meter = LatencyMeter(Counter("dense", log), torch.zeros(2, 1, 8, 8), SETTINGS)
    assert meter.kept(Counter("small", log)) > 0
    assert {shape for _, shape in log} == {(5, 1, 8, 8)}
    for name in ("dense", "small"):
        assert sum(called == name for called, _ in log) >= SETTINGS.rounds


def test_every_tensor_of_the_inputs_is_brought_to_the_timed_batch_size() -> None:
    log: list[tuple[str, tuple[int, ...]]] = []

    class Pair(Counter):
        def forward(self, x: Tensor, flags: Tensor) -> tuple[Tensor, Tensor]:
            assert len(flags) == len(x)
            return super().forward(x), flags

    example = {"flags": torch.zeros(2, dtype=torch.bool), "x": torch.zeros(2, 1, 8, 8)}
    assert LatencyMeter(Pair("dense", log), example, SETTINGS).kept(Pair("small", log)) > 0
    assert {shape for _, shape in log} == {(5, 1, 8, 8)}


def test_rounds_are_interleaved() -> None:
    log: list[tuple[str, tuple[int, ...]]] = []
    models = {name: Counter(name, log) for name in ("one", "two")}
    samples = measure_interleaved(models, torch.zeros(1), SETTINGS)
    assert {name: len(times) for name, times in samples.items()} == {"one": 3, "two": 3}
    assert all(time > 0 for times in samples.values() for time in times)
    order = [name for i, (name, _) in enumerate(log) if i == 0 or log[i - 1][0] != name]
    assert order[-6:] == ["one", "two"] * 3


def test_a_meter_is_asked_again_every_time() -> None:
    log: list[tuple[str, tuple[int, ...]]] = []
    meter = LatencyMeter(Counter("dense", log), torch.zeros(2, 1, 8, 8), SETTINGS)
    meter.kept(Counter("small", log))
    once = len(log)
    meter.kept(Counter("small", log))
    assert len(log) > once


def test_a_ratio_compares_rounds_pairwise_and_takes_the_median() -> None:
    assert ratio([1.0, 20.0, 3.0], [2.0, 10.0, 4.0]) == pytest.approx(0.75)


def test_a_summary_is_median_and_ninetieth_percentile() -> None:
    summary = summarise([float(i) for i in range(1, 12)])
    assert (summary.median_ms, summary.p90_ms) == (6.0, 10.0)
