"""What every network of a comparison goes through: the same fine-tuning, then the test split."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from rlprune.compare.cells import Accuracies
from rlprune.config import RecipeSettings
from rlprune.data.splits import DataSplits, Split
from rlprune.evaluate.evaluator import measure_quality
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.tasks import Task
from rlprune.problem import Problem
from rlprune.recipes.finalists import QUICK_BATCH, QUICK_STEPS
from rlprune.recipes.finetune import finetune, steps_of
from rlprune.surgery.plan import Plan

EPOCHS, MOST_STEPS = 5, 240


@dataclass(frozen=True)
class Training:
    """How all networks are trained.

    Attributes:
        recipe: the standard one.
        steps: of it; 0 leaves it out.
        is_quick: whether each network is also trained by 50 steps with batches of 64.
    """

    recipe: RecipeSettings
    steps: int
    is_quick: bool = True


@dataclass(frozen=True)
class Trained:
    """What one network reaches, and how long its training took."""

    test: Accuracies
    validation: Accuracies
    seconds: float


def standard_steps(data: DataSplits, recipe: RecipeSettings) -> int:
    """Return the steps of the standard recipe: 5 epochs, at most 240."""
    return min(MOST_STEPS, steps_of(EPOCHS, data, recipe))


def train_and_measure(
    problem: Problem,
    plan: Plan,
    training: Training,
    seed: int,
    *,
    teacher: nn.Module | None = None,
    from_scratch: bool = False,
) -> Trained:
    """Train one pruned network in every way asked for; each starts from the same weights.

    Args:
        problem: whose dense network is pruned.
        plan: what is kept.
        training: the recipe.
        seed: of the order of batches, of dropout, and of new weights.
        teacher: answers like the dense network, which it is by default.
        from_scratch: whether the network starts with new weights.
    """
    started = time.perf_counter()
    evaluator = problem.evaluator
    if from_scratch:
        small = plan.apply(evaluator.model)
        with _seeded(seed, evaluator.device):
            reinitialise(small)
        recalibrate(small, evaluator.inputs)
    else:
        small = evaluator.repaired(plan)
    quick = training.recipe.model_copy(update={"batch_size": QUICK_BATCH})
    train = partial(_trained, problem, small, teacher or evaluator.model, seed)
    models = {"repaired": small}
    if training.is_quick:
        models["quick"] = train(quick, QUICK_STEPS)
    if training.steps:
        models["standard"] = train(training.recipe, training.steps)
    test, validation = (
        _accuracies(models, split, evaluator.task)
        for split in (problem.data.test, problem.data.validation)
    )
    return Trained(test, validation, time.perf_counter() - started)


def _accuracies(models: Mapping[str, nn.Module], split: Split, task: Task) -> Accuracies:
    values = {name: measure_quality(model, split, task) for name, model in models.items()}
    return Accuracies(
        repaired=values["repaired"],
        after_50_steps=values.get("quick"),
        finetuned=values.get("standard"),
    )


def reinitialise(model: nn.Module) -> None:
    """Give a network new weights in place, drawn from PyTorch's global generator.

    Every layer draws them as it does when it is built. Parameters that no layer can draw, such as
    those of the user's own modules, are shuffled, which keeps their distribution.
    """
    for module in model.modules():
        reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        if callable(reset):
            reset()
            continue
        for parameter in module.parameters(recurse=False):
            order = torch.randperm(parameter.numel()).to(parameter.device)
            with torch.no_grad():
                parameter.copy_(parameter.flatten()[order].view_as(parameter))


def _trained(
    problem: Problem,
    small: nn.Module,
    teacher: nn.Module,
    seed: int,
    recipe: RecipeSettings,
    steps: int,
) -> nn.Module:
    model, evaluator = copy.deepcopy(small), problem.evaluator
    with _seeded(seed, evaluator.device):
        finetune(model, teacher, problem.data, evaluator.task, recipe, steps=steps, seed=seed)
    return model


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's generators, which dropout and new weights use, and restore them."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
