"""A score after a few steps of training: where a plan is on its way to, not where it starts."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from rlprune.calling import Inputs, call, main_output, take
from rlprune.config import RecipeSettings
from rlprune.evaluate.least_squares import Outputs
from rlprune.evaluate.search_score.base import Scene
from rlprune.evaluate.search_score.repaired import SAMPLES, repair
from rlprune.kernels import sound_gradients
from rlprune.recipes.finetune import optimizer_for, schedule_for

BATCH = 64

_MOST_SAMPLES = 32 * BATCH  # they stay in memory; later steps see them again

_Lesson = tuple[Inputs, Tensor, Tensor]


def training_samples(steps: int) -> int:
    """Return how many samples of the train split so many steps, and least squares, learn from."""
    return max(SAMPLES, min(steps * BATCH, _MOST_SAMPLES))


class Distilled:
    """The first steps of a short run of the standard recipe, the same batches for every plan.

    Least squares come first, as they do in the recipe. SGD with Nesterov momentum, one cycle of the
    learning rate, half the task's loss and half distillation from the dense network (Hinton et al.,
    2015).

    Args:
        scene: with training samples.
        steps: of `BATCH` samples.
    """

    def __init__(self, scene: Scene, steps: int) -> None:
        self._scene, self._steps = scene, steps
        self._refit = repair(scene)
        self._recipe = RecipeSettings(batch_size=BATCH)

    def __call__(self, model: nn.Module, outputs: Outputs) -> None:
        """Refit and train the network that a plan left; same weights, same result."""
        self._refit(model, outputs)
        recipe = self._recipe
        optimizer = optimizer_for(
            model.requires_grad_(True).train(),
            self._scene.task,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        schedule = schedule_for(optimizer, self._steps)
        device = self._scene.targets.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)  # of dropout
            for step in range(self._steps):
                loss = self._loss(model, self._lessons[step % len(self._lessons)])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
        model.requires_grad_(False)

    def _loss(self, model: nn.Module, lesson: _Lesson) -> Tensor:
        inputs, targets, aim = lesson
        with sound_gradients(model):
            outputs = main_output(call(model, inputs))
        task = self._scene.task
        share = self._recipe.distillation
        own, distilled = task.loss(outputs, inputs, targets), task.distillation(outputs, aim)
        return (1 - share) * own + share * distilled

    @cached_property
    def _lessons(self) -> list[_Lesson]:
        """Batches of inputs, targets and the dense network's outputs; only whole ones if any."""
        if self._scene.training is None:
            raise ValueError("a distilled score needs samples of the train split")
        inputs, targets = self._scene.training
        count = max(1, len(targets) // BATCH)
        lessons = []
        for i in range(count):
            part = slice(i * BATCH, (i + 1) * BATCH)
            batch = take(inputs, part)
            with torch.no_grad():
                aim = main_output(call(self._scene.model, batch))
            lessons.append((batch, targets[part], aim))
        return lessons
