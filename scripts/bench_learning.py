"""Does the agent learn? Training against its own initialisation, a random policy and blindness.

PPO is trained on ResNet-20 at a fifth of the MACs, on digits and on Fashion-MNIST at 14x14, with
the default hyperparameters. Returns are relative to the heuristic (0). The
random policy draws actions uniformly; the blind one is the trained policy with the features of the
groups shuffled among them. Latency is left out of the reward so that a seed gives the same result.

    python scripts/bench_learning.py
    python scripts/bench_learning.py --first-seed 10 --json benchmarks/learning_held_out.json
"""

from __future__ import annotations

import numpy as np
import torch
import tyro
from bench import BenchSettings, Row, publish, spread
from returns import of_chance, of_shuffled

from rlprune.agents import train_agent
from rlprune.config import RewardSettings
from rlprune.data.registry import load_data
from rlprune.problem import Problem


class LearningSettings(BenchSettings):
    """Flags of this benchmark."""

    first_seed: int = 0
    """Seeds count up from here; PPO's defaults were chosen while looking at seeds 0 to 2."""


EPISODES = 800
SHUFFLES = 20
CASES = (("digits", None), ("fashion-mnist", 14))
REWARD = RewardSettings(latency=0.0)
TARGET = "on at least 2 of 3 seeds"


def measure(data_name: str, image_size: int | None, seed: int, episodes: int) -> dict[str, float]:
    """Train once and return every number that the table needs."""
    data = load_data(data_name, image_size=image_size)
    problem = Problem.build("resnet20", data, "macs=0.2", seed=seed, measure_latency=False)
    training = train_agent([problem], episodes, rewards=REWARD, seed=seed)
    returns, quarter = training.returns, len(training.returns) // 4
    ((before, after),) = training.deterministic
    rng = np.random.default_rng(seed)
    return {
        "mean return, first quarter": float(np.mean(returns[:quarter])),
        "mean return, last quarter": float(np.mean(returns[-quarter:])),
        "deterministic policy, before": before,
        "deterministic policy, after": after,
        "random policy": of_chance(problem, REWARD, rng, SHUFFLES),
        "deterministic policy, shuffled features": of_shuffled(
            problem, training.agent, REWARD, rng, SHUFFLES
        ),
    }


def rows_of(case: str, runs: list[dict[str, float]]) -> list[Row]:
    """Return the numbers and, for every claim, on how many seeds it holds."""
    rows = [spread(case, metric, [run[metric] for run in runs]) for metric in runs[0]]
    after = "deterministic policy, after"
    claims = {
        "mean return rises": ("mean return, last quarter", "mean return, first quarter"),
        "policy above its initialisation": (after, "deterministic policy, before"),
        "policy above random": (after, "random policy"),
        "shuffling features lowers it": (after, "deterministic policy, shuffled features"),
    }
    needed = -(-2 * len(runs) // 3)
    for claim, (high, low) in claims.items():
        holds = [float(run[high] > run[low]) for run in runs]
        rows.append(spread(case, claim, holds, TARGET, sum(holds) >= needed))
    return rows


def main(settings: LearningSettings) -> None:
    """Train on every case with three seeds."""
    torch.set_num_threads(settings.threads)
    rows: list[Row] = []
    for name, size in CASES[:1] if settings.quick else CASES:
        first = settings.first_seed
        seeds = range(first, first + (1 if settings.quick else 3))
        runs = [measure(name, size, seed, 200 if settings.quick else EPISODES) for seed in seeds]
        rows += rows_of(f"{name}, resnet20, macs=0.2", runs)
    notes = (
        "Returns are log-ratios to the heuristic's search score, 0 = as good as the heuristic; "
        f"{EPISODES} episodes per seed; low and high are the extremes over seeds. Lines with a "
        "target count the seeds on which the claim holds."
    )
    publish("learning", settings, rows, notes)


if __name__ == "__main__":
    main(tyro.cli(LearningSettings))
