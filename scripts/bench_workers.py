"""Two cores: two processes of one thread that score plans, beside one of one thread or of two.

Distinct plans of networks with random weights, 512 random images of 32 x 32, nothing cached. In
every round all three ways score the same new plans, so that what else the machine does hits them
alike; ratios are taken within a round. One worker is this process. What it takes until two others
answer for the first time has its own row and counts in no rate. Then whole trainings, profile and
start-up left out, with the same seed and one or two workers of one thread.

Forward passes are of 128 images in the default precision. All 512 at once in single precision are a
third slower on MobileNetV2 and scale worse, because activations do not stay in the cache.

    python scripts/bench_workers.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import TypeVar

import numpy as np
import torch
import tyro
from bench import BenchSettings, Row, noise, publish, spread

from rlprune.agents import train_agent
from rlprune.agents.training import Training
from rlprune.config import EvaluationSettings, RewardSettings
from rlprune.evaluate.scoring import PlanScorer
from rlprune.evaluate.workers import workers_for
from rlprune.models.registry import build_model
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

NETWORKS = ("resnet20", "mobilenetv2")
IMAGES, BATCH, SIZE, CLASSES, BUDGET = 512, 128, 32, 10, "macs=0.4"
LEAST_SPEEDUP, LEAST_OF_TWO_THREADS = 1.7, 1.0
TWO, ONE, ONE_WIDE = "two workers, 1 thread", "one worker, 1 thread", "one worker, 2 threads"

T = TypeVar("T")

medians = partial(spread, centre=median)


def build(name: str) -> Problem:
    """Build a network with random weights."""
    torch.manual_seed(0)
    model = build_model(name, in_channels=3, num_classes=CLASSES, image_size=SIZE)
    evaluation = EvaluationSettings(score="kl", images=IMAGES, batch_size=BATCH)
    return Problem.build(
        model, noise(IMAGES, SIZE, CLASSES), BUDGET, evaluation=evaluation, measure_latency=False
    )


def plans_of(problem: Problem, count: int, seed: int) -> list[Plan]:
    """Draw plans at the budget that keep all blocks."""
    draws = np.random.default_rng(seed).normal(0, 0.3, (count, len(problem.graph.groups)))
    return [problem.decode(np.exp(draw)) for draw in draws]


def timed(task: Callable[[], T]) -> tuple[T, float]:
    """Return what a task returns, and its seconds."""
    start = time.perf_counter()
    result = task()
    return result, time.perf_counter() - start


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let this process use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def scoring(name: str, rounds: int, count: int) -> list[Row]:
    """Compare the three ways to score plans of one network."""
    problem = build(name)
    here = problem.evaluator.scorer
    first = plans_of(problem, 2, seed=0)
    with workers_for([problem.evaluator], 2):
        there = problem.evaluator.scorer
        _, start_up = timed(lambda: there.score(first))
        there.score(plans_of(problem, 6, seed=1))  # both have their skeletons now
        rates: dict[str, list[float]] = {ONE: [], TWO: [], ONE_WIDE: []}
        same = True
        for number in range(rounds + 1):
            plans = plans_of(problem, count, seed=2 + number)
            expected, alone = timed(lambda plans=plans: here.score(plans))  # type: ignore[misc]
            found, together = timed(lambda plans=plans: there.score(plans))  # type: ignore[misc]
            wide = in_two_threads(here, plans)
            same = same and found == expected
            if number:  # the first round warms up
                for way, seconds in ((ONE, alone), (TWO, together), (ONE_WIDE, wide)):
                    rates[way].append(count / seconds)
    speedups, gains = ratios(rates[TWO], rates[ONE]), ratios(rates[TWO], rates[ONE_WIDE])
    return [
        *(medians(f"{name}: {way}", "evaluations/s", values) for way, values in rates.items()),
        medians(
            f"{name}: two workers / one worker, 1 thread each",
            "ratio",
            speedups,
            f"at least {LEAST_SPEEDUP:g}",
            median(speedups) >= LEAST_SPEEDUP,
        ),
        medians(
            f"{name}: two workers, 1 thread / one worker, 2 threads",
            "ratio",
            gains,
            f"at least {LEAST_OF_TWO_THREADS:g}",
            median(gains) >= LEAST_OF_TWO_THREADS,
        ),
        spread(f"{name}: two workers score as one does", "all plans", [same], "1", same),
        spread(f"{name}: until two workers have scored a plan each", "seconds", [start_up]),
    ]


def in_two_threads(scorer: PlanScorer, plans: Sequence[Plan]) -> float:
    """Return the seconds that scoring takes with two threads."""
    with threads(2):
        return timed(lambda: scorer.score(plans))[1]


def training(name: str, rounds: int, episodes: int) -> list[Row]:
    """Compare whole trainings with one and two workers, a seed for each round."""
    alone, together = build(name), build(name)
    rates: dict[str, list[float]] = {ONE: [], TWO: []}
    same = True
    with workers_for([together.evaluator], 2):
        for problem in (alone, together):
            _ = problem.reference  # measured once per problem; starts the workers
        for seed in range(rounds):
            first, slow = timed(partial(train, alone, episodes, seed))
            second, fast = timed(partial(train, together, episodes, seed))
            rates[ONE].append(episodes / slow)
            rates[TWO].append(episodes / fast)
            same = same and alike(first, second)
    return [
        *(medians(f"{name}: training, {w}", "episodes/s", values) for w, values in rates.items()),
        medians(
            f"{name}: training, two workers / one worker", "ratio", ratios(rates[TWO], rates[ONE])
        ),
        spread(f"{name}: training, the same agent", "returns, weights", [same], "1", same),
    ]


def train(problem: Problem, episodes: int, seed: int) -> Training:
    """Train a new agent."""
    return train_agent([problem], episodes, rewards=RewardSettings(latency=0), seed=seed)


def alike(first: Training, second: Training) -> bool:
    """Whether two trainings had the same returns and left the same weights."""
    weights = second.agent.state()
    equal = all(torch.equal(tensor, weights[n]) for n, tensor in first.agent.state().items())
    return equal and first.returns == second.returns


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Divide round by round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def main(settings: BenchSettings) -> None:
    """Measure scoring on both networks, training on the first."""
    torch.set_num_threads(1)
    rounds, count = (3, 8) if settings.quick else (9, 16)
    rows = [row for name in NETWORKS for row in scoring(name, rounds, count)]
    rows += training(NETWORKS[0], *((2, 16) if settings.quick else (5, 48)))
    notes = (
        "Medians (in the column of means) over rounds, with least and most; the ways take turns "
        f"in every round. {IMAGES} images of {SIZE} x {SIZE}, plans at {BUDGET}, in passes "
        f"of {BATCH} in the default precision (16 bits if the processor has them); one worker is "
        "the process itself. Start-up of the workers is its own row."
    )
    publish("workers", settings, rows, notes)


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
