"""Metrics by name: what a constraint may ask for, and a comparison may report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rlprune.calling import Inputs
from rlprune.errors import MetricError, UnknownNameError
from rlprune.evaluate.tasks import Classification, Reconstruction, Task

Measure = Callable[[Tensor, Inputs, Tensor, Tensor], float]
"""`(outputs, inputs, targets, dense outputs) -> value`, higher is better."""


@dataclass(frozen=True)
class Metric:
    """One number that says how good a network's outputs are.

    Attributes:
        name: what constraints call it.
        task: name of the task that it is for.
        highest: the largest value there can be, or None.
        measure: computes it on a batch.
    """

    name: str
    task: str
    highest: float | None
    measure: Measure


def _accuracy(outputs: Tensor, inputs: Inputs, targets: Tensor, dense_outputs: Tensor) -> float:
    return Classification().quality(outputs, inputs, targets)


def _recalls(outputs: Tensor, targets: Tensor) -> Tensor:
    """Fraction of each class that is recognised; classes without a sample are left out."""
    classes = outputs.shape[1]
    correct = targets[outputs.argmax(1) == targets]
    found = torch.bincount(correct, minlength=classes)
    present = torch.bincount(targets, minlength=classes)
    return (found / present)[present > 0]


def _macro_recall(outputs: Tensor, inputs: Inputs, targets: Tensor, dense_outputs: Tensor) -> float:
    return float(_recalls(outputs, targets).mean())


def _worst_recall(outputs: Tensor, inputs: Inputs, targets: Tensor, dense_outputs: Tensor) -> float:
    return float(_recalls(outputs, targets).min())


def _psnr_db(outputs: Tensor, inputs: Inputs, targets: Tensor, dense_outputs: Tensor) -> float:
    return Reconstruction().quality(outputs, inputs, targets)


def _agreement(outputs: Tensor, inputs: Inputs, targets: Tensor, dense_outputs: Tensor) -> float:
    return float((outputs.argmax(1) == dense_outputs.argmax(1)).float().mean())


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", Classification.name, 1.0, _accuracy),
        Metric("macro_recall", Classification.name, 1.0, _macro_recall),
        Metric("worst_recall", Classification.name, 1.0, _worst_recall),
        Metric("agreement", Classification.name, 1.0, _agreement),
        Metric("psnr_db", Reconstruction.name, None, _psnr_db),
    )
}
"""`{name: metric}`. Recalls are per class, fractions; agreement is with the dense network."""


def metric_named(name: str, task: Task | None = None) -> Metric:
    """Return a metric, of a task where one is given.

    Raises:
        UnknownNameError: if there is none of that name.
        MetricError: if it is for another task, with those that fit.
    """
    if name not in METRICS:
        raise UnknownNameError("metric", name, METRICS)
    metric = METRICS[name]
    if task is not None and metric.task != task.name:
        fitting = ", ".join(one.name for one in METRICS.values() if one.task == task.name)
        raise MetricError(
            f"{name} is a metric of {metric.task}, and this network does {task.name}; "
            f"type one of: {fitting}"
        )
    return metric
