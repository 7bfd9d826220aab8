"""The standard recipe: fine-tune a pruned network while distilling from the dense one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from rlprune.calling import Inputs, call, main_output, to_device
from rlprune.config import RecipeSettings
from rlprune.data.splits import DataSplits, Split
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.tasks import Reconstruction, Task
from rlprune.kernels import sound_gradients
from rlprune.progress import track

LONG = 240
"""Steps from which on the learning rate has its full peak; see `schedule_for`."""

_ADAM_SHARE = 0.05


def finetune(
    model: nn.Module,
    teacher: nn.Module,
    data: DataSplits,
    task: Task,
    settings: RecipeSettings,
    *,
    steps: int,
    seed: int = 0,
) -> None:
    """Train a model in place on the train split, then recalibrate; ends in eval mode.

    SGD with Nesterov momentum 0.9, one cycle of the learning rate, half task loss and half
    distillation at temperature 2 (Hinton et al., 2015). The same recipe serves every method that is
    compared. Reconstructions are trained with Adam, see `optimizer_for`.

    Args:
        model: the pruned network; all its parameters are trained, frozen ones too.
        teacher: the dense network, in eval mode.
        data: only train is learned from; search recalibrates.
        task: loss and distillation.
        settings: batch size, learning rate, weight decay, share of distillation.
        steps: SGD steps.
        seed: order of the batches.
    """
    device = next(model.parameters()).device
    model.requires_grad_(True)
    optimizer = optimizer_for(
        model,
        task,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    schedule = schedule_for(optimizer, steps)
    model.train()
    batches = _batches(data.train, settings.batch_size, seed)
    for _ in track(range(steps), "fine-tuning"):
        inputs, targets = to_device(next(batches), device)
        with sound_gradients(model):
            outputs = main_output(call(model, inputs))
        loss = (1 - settings.distillation) * task.loss(outputs, inputs, targets)
        if settings.distillation:
            with torch.no_grad():
                aim = main_output(call(teacher, inputs))
            loss = loss + settings.distillation * task.distillation(outputs, aim)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    recalibrate(model, to_device(data.search.tensors()[0], device))


def steps_of(epochs: int, data: DataSplits, settings: RecipeSettings) -> int:
    """Return how many SGD steps make so many epochs."""
    return epochs * max(1, len(data.train) // settings.batch_size)


def optimizer_for(
    model: nn.Module, task: Task, *, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Choose the optimizer that suits the loss: SGD with Nesterov momentum 0.9, or Adam.

    The gradients of a reconstruction, a mean over pixels, are too small for a classifier's SGD;
    Adam takes a twentieth of the learning rate and no weight decay.
    """
    if task.name == Reconstruction.name:
        return torch.optim.Adam(model.parameters(), lr=learning_rate * _ADAM_SHARE)
    return torch.optim.SGD(
        model.parameters(), learning_rate, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )


def schedule_for(optimizer: torch.optim.Optimizer, steps: int) -> OneCycleLR:
    """Return one cycle of the learning rate, whose peak is lower in short runs.

    A network that least squares have repaired starts near the dense one. Few steps of the full rate
    lead away from there and do not come back, so below `LONG` the peak falls with the root of the
    number of steps.
    """
    peak = optimizer.defaults["lr"] * min(1.0, math.sqrt(steps / LONG))
    return OneCycleLR(optimizer, max_lr=peak, total_steps=max(2, steps))


def _batches(split: Split, batch_size: int, seed: int) -> Iterator[tuple[Inputs, Tensor]]:
    size = min(batch_size, len(split))
    for epoch in itertools.count():
        yield from split.loader(size, shuffle=True, seed=seed + epoch, drop_last=True)
