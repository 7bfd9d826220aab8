"""A net of two layers, its data, and trainings of it that tests watch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.criteria.base import Probe
from rlprune.dynamics.monitor import Monitor
from rlprune.dynamics.probe import HeldOut
from rlprune.evaluate.tasks import Classification
from rlprune.graph.group_graph import GroupGraph

INPUTS, HIDDEN, CLASSES = 6, 8, 3
WEIGHTS = ("first.weight", "second.weight")
NO_GROUPS = GroupGraph(groups=(), slices=(), operations=(), tensors={})


class TwoLayers(nn.Module):
    """Linear, ReLU, linear; some hidden units can never answer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, CLASSES)
        with torch.no_grad():
            self.first.bias[-2:] = -1e3

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.hidden(x))

    def hidden(self, x: Tensor) -> Tensor:
        return F.relu(self.first(x))


def two_layers(seed: int = 0, *, double: bool = False) -> TwoLayers:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TwoLayers()
    return model.double() if double else model


def samples(count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, INPUTS, generator=generator)
    return inputs, (inputs[:, :CLASSES]).argmax(1)


def held_out(model: nn.Module, count: int = 64, train_samples: int = 300) -> HeldOut:
    inputs, targets = samples(count, seed=2)
    dtype = next(model.parameters()).dtype
    task = Classification()
    return HeldOut(Probe(model, NO_GROUPS, inputs.to(dtype), targets, task, CLASSES), train_samples)


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda m: torch.optim.AdamW(m.parameters(), 0.01),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), 0.01),
}


def train(
    model: nn.Module,
    monitor: Monitor | None,
    *,
    steps: int,
    optimizer: str = "sgd",
    every_step: Callable[[Tensor], None] = lambda inputs: None,
    epoch: int = 5,
) -> torch.optim.Optimizer:
    """Train on a new batch each step; `every_step` sees inputs when gradients are there."""
    learner = OPTIMIZERS[optimizer](model)
    model.train()
    for number in range(steps):
        inputs, targets = samples(16, seed=100 + number)
        learner.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        every_step(inputs)
        if monitor is not None:
            monitor.step(loss)
        learner.step()
        if monitor is not None and (number + 1) % epoch == 0:
            monitor.epoch(validation_loss=1.0)
    return learner


def record_of_a_training(path: Path) -> None:
    """Watch a short training and write its record."""
    model = two_layers()
    with Monitor(model, steps=20, every=2) as monitor:
        train(model, monitor, steps=20)
        monitor.close(held_out(model), path)
