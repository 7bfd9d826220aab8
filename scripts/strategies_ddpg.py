"""AMC's qualitative result (He et al., ECCV 2018): DDPG beats uniform on a MobileNet-like network.

Our small MobileNetV2 at half the MACs, fine-tuned by the standard recipe, three seeds (search
images, agent, order of batches), test accuracy. DDPG has 200 evaluations, as every strategy here,
and its own 800 episodes. Fashion-MNIST at 14x14; with `--quick` digits and 40 evaluations. What is
measured is kept in `runs/strategies-ddpg`, by commit, so that an interrupted run goes on where it
was. `bench_strategies.py` publishes the rows.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.stats
import torch
from bench import COMMIT, BenchSettings, Row, spread

from rlprune.agents import agent_named
from rlprune.agents.ddpg import EPISODES
from rlprune.compare.training import Training, standard_steps, train_and_measure
from rlprune.config import RecipeSettings
from rlprune.data import DataSplits, load_data
from rlprune.models.registry import LoadedModel, load_model
from rlprune.problem import Problem

MODEL, BUDGET = "mobilenetv2", "macs=0.5"
SEEDS = 3
EVALUATIONS, QUICK_EVALUATIONS = 200, 40
FOLDER = Path(__file__).resolve().parents[1] / "runs" / "strategies-ddpg"


@dataclass(frozen=True)
class Found:
    """What one search found.

    Attributes:
        finetuned: test accuracy after the standard recipe, in [0, 1].
        repaired: the same before it.
        evaluations: distinct plans that the search evaluated.
        seconds: that the search took, fine-tuning apart.
    """

    finetuned: float
    repaired: float
    evaluations: int
    seconds: float


def rows(settings: BenchSettings) -> list[Row]:
    """Measure uniform and DDPG; differences are paired by seed, with a 95 % t interval."""
    torch.set_num_threads(settings.threads)
    data = load_data("digits") if settings.quick else load_data("fashion-mnist", image_size=14)
    dense = load_model(MODEL, data)
    case = f"{MODEL}, {data.tag}, {BUDGET}"
    uniform = [_cell(dense, data, "uniform", 0, seed) for seed in range(SEEDS)]
    result = _summary(f"{case}, uniform", uniform)
    for evaluations in (QUICK_EVALUATIONS,) if settings.quick else (EVALUATIONS, EPISODES):
        ddpg = [_cell(dense, data, "ddpg", evaluations, seed) for seed in range(SEEDS)]
        name = f"{case}, ddpg at {evaluations} evaluations"
        result += _summary(name, ddpg)
        result.append(_difference(f"{name} - uniform", ddpg, uniform))
    return result


def _summary(case: str, found: Sequence[Found]) -> list[Row]:
    return [
        spread(case, "test accuracy, fine-tuned", [one.finetuned for one in found]),
        spread(case, "test accuracy, repaired only", [one.repaired for one in found]),
        spread(case, "evaluations", [float(one.evaluations) for one in found]),
        spread(case, "search, s", [one.seconds for one in found]),
    ]


def _difference(case: str, ours: Sequence[Found], theirs: Sequence[Found]) -> Row:
    values = [a.finetuned - b.finetuned for a, b in zip(ours, theirs, strict=True)]
    mean, n = float(np.mean(values)), len(values)
    half = float(scipy.stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5)
    target = "better than uniform after fine-tuning"
    return Row(case, "accuracy difference", mean, mean - half, mean + half, n, target, mean > 0)


def _cell(dense: LoadedModel, data: DataSplits, method: str, evaluations: int, seed: int) -> Found:
    """Search, fine-tune and test, or read what this commit found before."""
    path = FOLDER / COMMIT / f"{data.tag}_{method}_{evaluations}_{seed}.json"
    if path.exists():
        return Found(**json.loads(path.read_text()))
    problem = Problem.build(dense, data, BUDGET, seed=seed, measure_latency=False)
    started = time.perf_counter()
    plan = agent_named(method, seed).propose(problem, evaluations).plan
    seconds, used = time.perf_counter() - started, problem.ledger.evaluations
    recipe = RecipeSettings()
    training = Training(recipe, standard_steps(data, recipe), is_quick=False)
    test = train_and_measure(problem, plan, training, seed).test
    if test.finetuned is None:
        raise ValueError("the standard recipe trains nothing here")
    found = Found(test.finetuned, test.repaired, used, seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(found)))
    os.replace(draft, path)
    return found
