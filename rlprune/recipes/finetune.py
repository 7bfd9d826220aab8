"""The standard recipe: fine-tune a pruned network while distilling from the dense one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from rlprune.config import RecipeSettings
from rlprune.data.splits import DataSplits, Split
from rlprune.evaluate.evaluator import forward
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.tasks import Task
from rlprune.progress import track


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

    SGD with Nesterov momentum 0.9, one-cycle learning rate, half task loss and half distillation
    at temperature 2 (Hinton et al., 2015). The same recipe serves every method that is compared.

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
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=settings.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=max(2, steps)
    )
    model.train()
    batches = _batches(data.train, settings.batch_size, seed)
    for _ in track(range(steps), "fine-tuning"):
        images, targets = (tensor.to(device) for tensor in next(batches))
        outputs = model(images)
        loss = (1 - settings.distillation) * task.loss(outputs, images, targets)
        if settings.distillation:
            soft = task.distillation(outputs, forward(teacher, images))
            loss = loss + settings.distillation * soft
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    recalibrate(model, data.search.tensors()[0].to(device))


def steps_of(epochs: int, data: DataSplits, settings: RecipeSettings) -> int:
    """Return how many SGD steps make so many epochs."""
    return epochs * max(1, len(data.train) // settings.batch_size)


def _batches(split: Split, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    size = min(batch_size, len(split))
    for epoch in itertools.count():
        yield from split.loader(size, shuffle=True, seed=seed + epoch, drop_last=True)
