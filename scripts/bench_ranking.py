"""Which ranking of channels pays, once what is left is refitted by least squares?

The heuristic plans networks of the pool, each at one budget, with the channels of every group
ranked by one criterion after the other; its profile is measured anew under each. Gains are in log
search score on the ranking by group norms, which is that of the graph.

    python scripts/make_pool.py --out runs/pool --networks 240 --workers 2
    python scripts/bench_ranking.py --pool runs/pool --threads 1

About 20 minutes on one core. `--quick` takes two networks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
import tyro
from bench import BenchSettings, interval, publish
from pydantic import Field

from rlprune.compare.statistics import estimate
from rlprune.compare.training import Trained, Training, train_and_measure
from rlprune.config import EvaluationSettings, RecipeSettings
from rlprune.errors import CriterionError
from rlprune.machine import keep_freed_memory
from rlprune.pool.choosing import Names, split
from rlprune.pool.data import pool_data
from rlprune.pool.folder import read
from rlprune.pool.problems import Draws, problems_of
from rlprune.problem import Problem
from rlprune.progress import track

CRITERIA = ("l1", "batchnorm", "fpgm", "taylor", "fisher", "activation-variance", "layer-obs")
TRAINED = "layer-obs"
"""Also compared by accuracy, on validation and test data."""


class RankingBenchSettings(BenchSettings):
    """Flags of this benchmark."""

    pool: Path = Path("runs/pool")
    """Folder of the pool."""
    networks: int = Field(default=36, ge=2)
    """Networks of it, drawn at random."""


def main(settings: RankingBenchSettings) -> None:
    """Measure, and write the table."""
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    gains: dict[str, list[float]] = {name: [] for name in CRITERIA}
    more: dict[str, list[float]] = {"repaired": [], "after_50_steps": []}
    count = 2 if settings.quick else settings.networks
    for (problem,) in track(list(drawn(settings.pool, count)), "ranking"):
        plain, negligible = problem.reference.score, problem.sensitivity.negligible
        for name in CRITERIA:
            with suppress(CriterionError):  # without BatchNorm
                ranked = problem.ranked_by(name).reference.score
                gains[name].append(float(np.log((plain + negligible) / (ranked + negligible))))
        before, after = trained(problem), trained(problem.ranked_by(TRAINED))
        for stage, found in more.items():
            found.append(accuracy(after, stage) - accuracy(before, stage))
    rows = [interval(name, "gain in log search score", estimate(gains[name])) for name in CRITERIA]
    rows += [
        interval(TRAINED, f"accuracy - that by norms, {stage}", estimate(found))
        for stage, found in more.items()
    ]
    publish(
        "ranking",
        settings,
        rows,
        "Over networks of the pool, each at one budget of MACs or parameters; 95 % t intervals. "
        "Accuracies are means of validation and test. batchnorm where there is any.",
    )


def drawn(pool: Path, count: int) -> Iterator[Problem]:
    """Yield one problem each of so many networks."""
    entries = list(split(read(pool), Names()).training)
    random.Random(0).shuffle(entries)
    data = cache(pool_data)
    evaluation = EvaluationSettings(images=256, precision="float32")
    for entry in entries:
        task = data(entry.record.job.data, None)
        for problem in problems_of(entry, task, Draws(), evaluation=evaluation):
            if count and not problem.budget.limits_latency:
                count -= 1
                yield problem
                break


def trained(problem: Problem) -> Trained:
    """Fine-tune what the heuristic leaves, 50 steps."""
    return train_and_measure(problem, problem.reference.plan, Training(RecipeSettings(), 0), 0)


def accuracy(found: Trained, stage: str) -> float:
    """Return the mean of both splits that nothing was chosen on."""
    return float(getattr(found.validation, stage) + getattr(found.test, stage)) / 2


if __name__ == "__main__":
    main(tyro.cli(RankingBenchSettings, description=__doc__))
