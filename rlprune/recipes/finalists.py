"""Finalists: the best plans by search score are fine-tuned briefly, and validation chooses."""

from __future__ import annotations

from collections.abc import Sequence

from rlprune.config import RecipeSettings
from rlprune.problem import Problem
from rlprune.progress import track
from rlprune.recipes.finetune import finetune
from rlprune.surgery.plan import Plan

QUICK_STEPS, QUICK_BATCH = 50, 64
"""Of a short fine-tuning that tells plans apart (benchmarks/search_score.md)."""


def best_finalist(problem: Problem, plans: Sequence[Plan], seed: int = 0) -> Plan:
    """Return the plan with the best metric on the validation split after 50 steps on train.

    Args:
        problem: whose dense network the plans prune.
        plans: at least one; of equals the first is taken.
        seed: of the order of batches.
    """
    qualities = [_quality(problem, plan, seed) for (plan,) in track(plans, "trying finalists")]
    return plans[max(range(len(plans)), key=qualities.__getitem__)]


def _quality(problem: Problem, plan: Plan, seed: int) -> float:
    evaluator, data = problem.evaluator, problem.data
    model = evaluator.repaired(plan)
    finetune(
        model,
        evaluator.model,
        data,
        evaluator.task,
        RecipeSettings(batch_size=QUICK_BATCH),
        steps=QUICK_STEPS,
        seed=seed,
    )
    return evaluator.validate(model, data.validation)
