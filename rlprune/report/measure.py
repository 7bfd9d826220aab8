"""The final measurement: test split once, latencies side by side on this machine."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from rlprune.cache.fingerprint import processor_name
from rlprune.calling import Inputs, repeated, take, to_device
from rlprune.config import LatencySettings
from rlprune.data.splits import DataSplits
from rlprune.evaluate.evaluator import measure_quality
from rlprune.evaluate.tasks import Task
from rlprune.latency.clock import pick_clock
from rlprune.latency.memory import peak_activation_bytes
from rlprune.latency.runtime import prepare
from rlprune.latency.timing import measure_interleaved, ratio, summarise
from rlprune.report.result import Device, Measured, Metric, Timing
from rlprune.surgery.storage import file_bytes


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
        settings: batch sizes, runtime, rounds and time per round.

    Returns:
        `{name: measurement}` and `{batch: latency of the first network / its own}`, ideally 1.
    """
    first = next(iter(models))
    device = next(models[first].parameters()).device
    inputs, _ = data.test.tensors(max(settings.report))
    latencies: dict[str, dict[str, Timing]] = {name: {} for name in models}
    self_ratios = {}
    for size in settings.report:
        batch = to_device(repeated(inputs, size), device)
        calls = {name: prepare(model, batch, settings.runtime) for name, model in models.items()}
        timed = {**calls, "": calls[first]}
        samples = measure_interleaved(timed, settings, pick_clock(device))
        self_ratios[f"batch_{size}"] = ratio(samples.pop(""), samples[first])
        for name, times in samples.items():
            timing = summarise(times)
            latencies[name][f"batch_{size}"] = Timing(median=timing.median_ms, p90=timing.p90_ms)
    one = to_device(take(inputs, slice(1)), device)
    measured = {
        name: _measured(model, macs[name], latencies[name], data, task, one)
        for name, model in models.items()
    }
    return measured, self_ratios


def _measured(
    model: nn.Module,
    macs: int,
    latency: dict[str, Timing],
    data: DataSplits,
    task: Task,
    sample: Inputs,
) -> Measured:
    value = measure_quality(model, data.test, task)
    return Measured(
        accuracy=value if task.metric == "accuracy" else None,
        metric=Metric(name=task.metric, value=value),
        split=data.test.role,
        macs=macs,
        params=sum(parameter.numel() for parameter in model.parameters()),
        bytes=file_bytes(model),
        activation_bytes=peak_activation_bytes(model, sample),
        latency_ms=latency,
    )


def describe_device(device: torch.device, runtime: str = "eager") -> Device:
    """Say where a run takes place."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return Device(
        name=name,
        type=device.type,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        runtime=runtime,
    )
