"""How few forward passes rank plans as many do.

Plans of one network at one budget are scored in several ways on 512 search samples, and compared
with a reference that nobody could afford in a search: recalibrated on the whole search split,
scored on the whole validation split, in two sets of passes. Every plan is a log-normal allocation,
some without a block or two, decoded at the same kept MACs, so that cost alone tells nothing.
Spearman's correlation with the reference says how much of the ranking a way keeps; regret is how
much worse, in percent of the reference score, the plan is that it would choose.

    python scripts/bench_passes.py
"""

from __future__ import annotations

import time
from statistics import fmean

import numpy as np
import torch
import tyro
from bench import BenchSettings, Row, publish, spread
from scipy.stats import spearmanr

from rlprune.calling import Inputs, take
from rlprune.config import EvaluationSettings
from rlprune.data.registry import load_data
from rlprune.data.splits import DataSplits
from rlprune.evaluate.batches import forward
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.scoring import Scorer
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

WAYS = {
    "separate passes": EvaluationSettings(score="kl", passes="separate", precision="float32"),
    "shared pass": EvaluationSettings(score="kl", passes="shared", precision="float32"),
    "shared pass, batches of 32": EvaluationSettings(
        score="kl", precision="float32", batch_size=32
    ),
    "shared pass, half the samples": EvaluationSettings(
        score="kl", images=256, precision="float32"
    ),
    "shared pass, bfloat16": EvaluationSettings(score="kl", precision="bfloat16"),
}
CASES = (
    ("resnet20", "fashion-mnist", 14),
    ("plain_cnn", "fashion-mnist", 14),
    ("mobilenetv2", "digits", 8),
    ("densenet", "digits", 8),
    ("vgg", "digits", 8),
)
BUDGETS = ("macs=0.5", "macs=0.2")
PLANS = 40


def plans_of(problem: Problem, count: int) -> list[Plan]:
    """Draw plans at the problem's budget, some of them without a block or two."""
    rng, is_block = np.random.default_rng(0), problem.graph.is_block
    plans = []
    for _ in range(count):
        allocation = np.exp(rng.normal(0, 0.3, len(is_block)))
        gone = is_block & (rng.random(len(is_block)) < 1 / max(1, is_block.sum()))
        plans.append(problem.decode(np.where(gone, 0.0, allocation)))
    return plans


def reference_scores(problem: Problem, plans: list[Plan], data: DataSplits) -> list[float]:
    """Score plans on validation data after recalibration on the whole search split."""
    evaluator = problem.evaluator
    inputs = data.validation.tensors()[0]
    dense = forward(evaluator.model, inputs)
    return [_reference(problem, plan, inputs, dense) for plan in plans]


def _reference(problem: Problem, plan: Plan, inputs: Inputs, dense: torch.Tensor) -> float:
    evaluator = problem.evaluator
    small = plan.apply(evaluator.model)
    recalibrate(small, evaluator.inputs)
    return float(evaluator.task.divergence(forward(small, inputs), dense))


def scored(
    problem: Problem, plans: list[Plan], settings: EvaluationSettings
) -> tuple[list[float], float]:
    """Score plans in one way; return the scores and the seconds per plan."""
    evaluator = problem.evaluator
    count = settings.images
    scorer = Scorer(
        evaluator.model,
        evaluator.graph,
        take(evaluator.inputs, slice(count)),
        evaluator.targets[:count],
        evaluator.task,
        settings,
    )
    scorer.score(plans[:1])
    started = time.perf_counter()
    scores = [score.score for score in scorer.score(plans)]
    return scores, (time.perf_counter() - started) / len(plans)


def measure(spec: str, data: DataSplits, budget: str, count: int) -> dict[str, dict[str, float]]:
    """Return Spearman, regret and relative time of every way on one network and budget."""
    every = EvaluationSettings(score="kl", images=100_000)
    whole = Problem.build(spec, data, budget, evaluation=every, measure_latency=False)
    few = Problem.build(spec, data, budget, measure_latency=False)
    plans = plans_of(few, count)
    truth = np.array(reference_scores(whole, plans, data))
    found = {way: scored(few, plans, settings) for way, settings in WAYS.items()}
    slowest = found["separate passes"][1]
    return {
        way: {
            "Spearman": float(spearmanr(scores, truth).statistic),
            "regret, %": 100 * float(truth[int(np.argmin(scores))] / truth.min() - 1),
            "time / separate": seconds / slowest,
        }
        for way, (scores, seconds) in found.items()
    }


def main(settings: BenchSettings) -> None:
    """Measure all networks at all budgets."""
    torch.set_num_threads(settings.threads)
    cases = CASES[:1] if settings.quick else CASES
    budgets = BUDGETS[-1:] if settings.quick else BUDGETS
    rows: list[Row] = []
    every: dict[tuple[str, str], list[float]] = {}
    for spec, name, size in cases:
        data = load_data(name, image_size=size)
        for budget in budgets:
            found = measure(spec, data, budget, 10 if settings.quick else PLANS)
            for way, numbers in found.items():
                for metric, value in numbers.items():
                    every.setdefault((way, metric), []).append(value)
                    rows.append(spread(f"{spec}, {data.tag}, {budget}: {way}", metric, [value]))
    summary = [spread(f"all: {way}", metric, values) for (way, metric), values in every.items()]
    gap = [
        shared - separate
        for shared, separate in zip(
            every["shared pass", "Spearman"], every["separate passes", "Spearman"], strict=True
        )
    ]
    kept = spread("all: shared - separate", "Spearman", gap, "at least -0.02", fmean(gap) >= -0.02)
    notes = (
        f"{PLANS} plans a network and budget at equal MACs. `all` is the mean over networks and "
        "budgets with least and most. Accuracy in bfloat16 says nothing of speed on a machine "
        "without instructions for it."
    )
    publish("passes", settings, [kept, *summary, *rows], notes)


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
