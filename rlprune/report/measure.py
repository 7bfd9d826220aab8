"""The final measurement: test split once, latencies side by side on this machine."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from rlprune.calling import repeated, to_device
from rlprune.config import LatencySettings
from rlprune.cost.latency import measure_interleaved, ratio, summarise
from rlprune.data.splits import DataSplits
from rlprune.evaluate.evaluator import measure_quality
from rlprune.evaluate.tasks import Task
from rlprune.report.result import Device, Measured, Metric, Timing

BATCH_SIZES = (1, 64)


def measure_for_report(
    models: Mapping[str, nn.Module],
    macs: Mapping[str, int],
    data: DataSplits,
    task: Task,
    settings: LatencySettings,
) -> tuple[dict[str, Measured], dict[str, float]]:
    """Measure networks for a report; the only place that touches the test split.

    The first network is timed twice over; its ratio to itself says how far to trust the others.

    Args:
        models: `{name: network}` in eval mode on one device; timed interleaved.
        macs: `{name: MACs per sample}`.
        data: the four splits.
        task: whose metric is reported.
        settings: rounds and time per round.

    Returns:
        `{name: measurement}` and `{batch: latency of the first network / its own}`, ideally 1.
    """
    first = next(iter(models))
    device = next(models[first].parameters()).device
    inputs, _ = data.test.tensors(max(BATCH_SIZES))
    latencies: dict[str, dict[str, Timing]] = {name: {} for name in models}
    self_ratios = {}
    for size in BATCH_SIZES:
        batch = to_device(repeated(inputs, size), device)
        samples = measure_interleaved({**models, "": models[first]}, batch, settings)
        self_ratios[f"batch_{size}"] = ratio(samples.pop(""), samples[first])
        for name, times in samples.items():
            timing = summarise(times)
            latencies[name][f"batch_{size}"] = Timing(median=timing.median_ms, p90=timing.p90_ms)
    measured = {
        name: _measured(model, macs[name], latencies[name], data, task)
        for name, model in models.items()
    }
    return measured, self_ratios


def _measured(
    model: nn.Module, macs: int, latency: dict[str, Timing], data: DataSplits, task: Task
) -> Measured:
    value = measure_quality(model, data.test, task)
    return Measured(
        accuracy=value if task.metric == "accuracy" else None,
        metric=Metric(name=task.metric, value=value),
        split=data.test.role,
        macs=macs,
        params=sum(parameter.numel() for parameter in model.parameters()),
        bytes=sum(t.numel() * t.element_size() for t in model.state_dict().values()),
        latency_ms=latency,
    )


def describe_device(device: torch.device) -> Device:
    """Say where a run takes place."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return Device(
        name=name, type=device.type, threads=torch.get_num_threads(), torch=torch.__version__
    )


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
