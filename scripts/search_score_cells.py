"""The work of the search score study: plans at equal MACs, their scores, and their fine-tuning."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from rlprune.config import EvaluationSettings, RecipeSettings
from rlprune.cost.budget import Budget
from rlprune.data import DataSplits, load_data
from rlprune.evaluate.batches import forward
from rlprune.evaluate.scoring import Scorer
from rlprune.evaluate.search_score.learned import BASES
from rlprune.evaluate.search_score.registry import SEARCH_SCORES
from rlprune.models import load_model
from rlprune.problem import Problem
from rlprune.recipes.finalists import QUICK_BATCH, QUICK_STEPS
from rlprune.recipes.finetune import finetune
from rlprune.recipes.teacher import RememberingTeacher
from rlprune.surgery.plan import Plan

NETWORKS = ("resnet20", "vgg", "mobilenetv2")
BUDGETS = ("macs=0.4", "macs=0.2", "macs=0.08")
STEPS = 240
SPREAD = 0.4

MEASURED = tuple(name for name in SEARCH_SCORES if name not in BASES)
"""Scores that are not computed from others."""

Line = dict[str, Any]
_Result = TypeVar("_Result")


class Job(NamedTuple):
    """Scoring one plan by some scores, or fine-tuning it with one seed."""

    network: str
    budget: str
    plan: int
    seed: int | None = None
    scores: tuple[str, ...] = ()


def jobs_left(lines: Sequence[Line], plans: int, seeds: int) -> Iterator[Job]:
    """Yield what is to be done, the first plans of all networks and budgets first."""
    done = {(one["network"], one["budget"], one["plan"], one["what"]) for one in lines}
    for plan in range(plans):
        for network in NETWORKS:
            for budget in BUDGETS:
                case = (network, budget, plan)
                scores = tuple(name for name in MEASURED if (*case, name) not in done)
                if scores:
                    yield Job(*case, None, scores)
                for seed in range(seeds):
                    if (*case, seed) not in done:
                        yield Job(*case, seed)


@cache
def data() -> DataSplits:
    """Return small images: a fine-tuning takes seconds."""
    return load_data("fashion-mnist", image_size=14)


class Worker:
    """Does jobs; what is made once per network is kept.

    Args:
        plans: how many there are of each network and budget.
    """

    def __init__(self, plans: int) -> None:
        torch.set_flush_denormal(True)
        self._networks = {name: _Network(name, plans) for name in NETWORKS}

    def do(self, job: Job) -> list[Line]:
        """Return lines for the file of cells."""
        network = self._networks[job.network]
        plan = network.plans[job.budget][job.plan]
        found = network.scored(plan, job.scores)
        if job.seed is not None:
            found = [{"what": job.seed, **network.finetuned(plan, job.seed)}]
        case = {"network": job.network, "budget": job.budget, "plan": job.plan}
        return [{**case, **one} for one in found]


class _Network:
    def __init__(self, name: str, plans: int) -> None:
        self._name, self._count = name, plans
        self._scorers: dict[str, Scorer] = {}

    @cached_property
    def _problem(self) -> Problem:
        """The problem, scored in single precision on every machine."""
        loaded = load_model(self._name, data())
        evaluation = EvaluationSettings(precision="float32")
        return Problem.build(loaded, data(), "macs=1", evaluation=evaluation, measure_latency=False)

    @cached_property
    def plans(self) -> dict[str, list[Plan]]:
        """Distinct plans of each budget; a larger number only adds some."""
        return {budget: self._drawn(budget) for budget in BUDGETS}

    def _drawn(self, budget: str) -> list[Plan]:
        problem = self._problem.with_budget(Budget.parse(budget))
        rng, is_block = np.random.default_rng(0), problem.graph.is_block
        centres = (np.ones(len(is_block)), problem.reference.allocation)
        plans = [problem.decode(centre) for centre in centres]
        while len(plans) < self._count:
            drawn = centres[len(plans) % 2] * np.exp(rng.normal(0, SPREAD, len(is_block)))
            gone = is_block & (rng.random(len(is_block)) < 1 / max(1, is_block.sum()))
            plan = problem.decode(np.where(gone, 0.0, drawn))
            if plan not in plans:
                plans.append(plan)
        return plans

    def scored(self, plan: Plan, names: Sequence[str]) -> list[Line]:
        """Return scores, the quality that each comes with, and seconds of CPU beside one pass."""
        evaluator = self._problem.evaluator
        small = evaluator.repaired(plan)
        forward(small, evaluator.inputs)
        _, one_pass = _timed(lambda: forward(small, evaluator.inputs))
        lines = []
        for name in names:
            scorer = self._scorer(name, plan)
            (score,), seconds = _timed(partial(scorer.score, [plan]))
            found = {"value": score.score, "quality": score.quality}
            lines.append({"what": name, **found, "cpu": seconds, "pass": one_pass})
        return lines

    def _scorer(self, name: str, plan: Plan) -> Scorer:
        if name not in self._scorers:
            evaluator = self._problem.evaluator
            settings = EvaluationSettings(score=name, precision="float32")
            count = SEARCH_SCORES[name].training_samples
            training = data().train.tensors(count) if count else None
            sample = (evaluator.inputs, evaluator.targets, evaluator.task, settings, training)
            self._scorers[name] = Scorer(evaluator.model, evaluator.graph, *sample)
            self._scorers[name].score([plan])  # what is made once per network is not timed
        return self._scorers[name]

    def finetuned(self, plan: Plan, seed: int) -> Line:
        """Return widths and validation accuracy after each recipe."""
        recipe = RecipeSettings()
        quick = recipe.model_copy(update={"batch_size": QUICK_BATCH})
        lengths = {"accuracy": (recipe, STEPS), "accuracy_50": (quick, QUICK_STEPS)}
        reached, seconds = _timed(
            lambda: {name: self._trained(plan, seed, *how) for name, how in lengths.items()}
        )
        return {"widths": plan.widths.tolist(), **reached, "cpu": seconds}

    def _trained(self, plan: Plan, seed: int, recipe: RecipeSettings, steps: int) -> float:
        evaluator = self._problem.evaluator
        small = _in_fastest_layout(evaluator.repaired(plan))
        finetune(small, self._teacher, data(), evaluator.task, recipe, steps=steps, seed=seed)
        return evaluator.validate(small, data().validation)

    @cached_property
    def _teacher(self) -> RememberingTeacher:
        return RememberingTeacher(self._problem.evaluator.model)


def _in_fastest_layout(model: nn.Module) -> nn.Module:
    """Put the channels of weights last; on CPUs training is faster this way."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def _timed(work: Callable[[], _Result]) -> tuple[_Result, float]:
    """Return a result and its seconds of CPU, which other programs hardly change."""
    started = time.process_time()
    return work(), time.process_time() - started
