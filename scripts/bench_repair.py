"""What the repair by least squares is worth: before any fine-tuning, and after it.

The heuristic's plans of three networks at three budgets, Fashion-MNIST at 14x14. The same pruned
network is given to the same training with the same seed twice: once with BatchNorm recalibrated,
once refitted by least squares before that. Accuracy on the validation split.

    python scripts/bench_repair.py
"""

from __future__ import annotations

import copy
from functools import partial
from statistics import fmean

import torch
import tyro
from bench import BenchSettings, Row, interval, publish
from torch import nn

from rlprune.compare.statistics import estimate
from rlprune.compare.training import standard_steps
from rlprune.config import RecipeSettings
from rlprune.cost.budget import Budget
from rlprune.data.registry import load_data
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.problem import Problem
from rlprune.recipes.finalists import QUICK_BATCH, QUICK_STEPS
from rlprune.recipes.finetune import finetune
from rlprune.recipes.teacher import RememberingTeacher
from rlprune.surgery.plan import Plan

NETWORKS = ("resnet20", "vgg", "mobilenetv2")
BUDGETS = ("macs=0.4", "macs=0.2", "macs=0.08")
SEEDS = 3
REPAIRS = ("recalibrated", "least squares")
NOTES = (
    "Validation accuracy; low and high are a 95 % t interval over seeds of fine-tuning, which are "
    "also those of the paired differences; over all cases, the interval is that of the mean of "
    "the cases."
)

Accuracies = dict[str, list[float]]
"""`{training: one accuracy for each seed}`."""


def main(settings: BenchSettings) -> None:
    """Measure every network at every budget."""
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    data = load_data("fashion-mnist", image_size=14)
    rows, gains = list[Row](), dict[str, list[float]]()
    for network in NETWORKS[:1] if settings.quick else NETWORKS:
        whole = Problem.build(network, data, "macs=1", measure_latency=False)
        teacher = RememberingTeacher(whole.evaluator.model)
        for budget in BUDGETS[-1:] if settings.quick else BUDGETS:
            problem = whole.with_budget(Budget.parse(budget))
            train = partial(accuracies, problem, teacher, quick=settings.quick)
            plan = problem.reference.plan
            before, after = (
                train(one)
                for one in (recalibrated(problem, plan), problem.evaluator.repaired(plan))
            )
            for training, values in before.items():
                better = [b - a for a, b in zip(values, after[training], strict=True)]
                gains.setdefault(training, []).append(fmean(better))
                measured = (values, after[training], better)
                for kind, found in zip((*REPAIRS, "difference"), measured, strict=True):
                    case = f"{network}, {budget}, {kind}"
                    rows.append(interval(case, f"accuracy, {training}", estimate(found)))
    rows += [
        interval("all cases, difference", f"accuracy, {n}", estimate(v)) for n, v in gains.items()
    ]
    publish("repair", settings, rows, NOTES)


def recalibrated(problem: Problem, plan: Plan) -> nn.Module:
    """Return the pruned network with recalibrated BatchNorm statistics alone."""
    small = plan.apply(problem.evaluator.model)
    recalibrate(small, problem.evaluator.inputs)
    return small


def accuracies(
    problem: Problem, teacher: nn.Module, small: nn.Module, *, quick: bool
) -> Accuracies:
    """Return what a network reaches without training and by two recipes."""
    evaluator, data, recipe = problem.evaluator, problem.data, RecipeSettings()
    found = {"no fine-tuning": [evaluator.validate(small, data.validation)]}
    short = recipe.model_copy(update={"batch_size": QUICK_BATCH})
    trainings = {QUICK_STEPS: short, standard_steps(data, recipe): recipe}
    for steps, how in list(trainings.items())[: 1 if quick else 2]:
        name = f"{steps} steps of {how.batch_size}"
        for seed in range(1 if quick else SEEDS):
            model = copy.deepcopy(small)
            finetune(model, teacher, data, evaluator.task, how, steps=steps, seed=seed)
            found.setdefault(name, []).append(evaluator.validate(model, data.validation))
    return found


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
