"""PPO, uniform, the heuristic and random search at equal evaluations, on ResNet-20.

Fashion-MNIST at 14x14, kept MACs 0.4 and 0.2, at most 200 evaluations for every method, profile
evaluations included, three seeds (search images, policy, draws). PPO is trained from scratch on the
one problem and its deterministic policy is taken, not its best episode. Validation accuracy is
measured after BatchNorm recalibration, without fine-tuning. Rivals use the same evaluator, decoder,
floor and channel ranking; random search draws log-normal allocations around uniform and keeps the
best search score; random search around the heuristic is added because PPO starts there too.

    python scripts/bench_methods.py
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import tyro
from bench import BenchSettings, Row, publish, spread

from rlprune.agents import RandomSearchAgent, agent_named, train_agent
from rlprune.config import RewardSettings
from rlprune.data.registry import load_data
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

EVALUATIONS = 200
BUDGETS = ("macs=0.4", "macs=0.2")
Method = Callable[[Problem, int, int], Plan]


def ppo(problem: Problem, evaluations: int, seed: int) -> Plan:
    """Train on what the profile leaves of the allowance; return the deterministic policy's plan."""
    _ = problem.reference
    spent = problem.ledger.profile_evaluations
    # Two evaluations show the policy before and after; episodes come in whole updates of 8.
    episodes = (evaluations - spent - 2) // 8 * 8
    rewards = RewardSettings(latency=0.0)
    agent = train_agent([problem], episodes, rewards=rewards, seed=seed).agent
    return agent.propose(problem).plan


def uniform(problem: Problem, evaluations: int, seed: int) -> Plan:
    """Keep the same fraction everywhere; no evaluations."""
    return agent_named("uniform").propose(problem).plan


def sensitivity(problem: Problem, evaluations: int, seed: int) -> Plan:
    """Take the heuristic's plan; profile evaluations only."""
    return agent_named("sensitivity").propose(problem).plan


def random_search(problem: Problem, evaluations: int, seed: int) -> Plan:
    """Search around uniform with the whole allowance."""
    return RandomSearchAgent(seed).propose(problem, evaluations).plan


def random_around_heuristic(problem: Problem, evaluations: int, seed: int) -> Plan:
    """Search around the heuristic with what its profile leaves of the allowance."""
    _ = problem.reference
    spent = problem.ledger.profile_evaluations
    agent = RandomSearchAgent(seed, spread=0.15, around_heuristic=True)
    return agent.propose(problem, evaluations - spent).plan


METHODS: dict[str, Method] = {
    "uniform": uniform,
    "sensitivity (heuristic)": sensitivity,
    "random search": random_search,
    "random search around the heuristic": random_around_heuristic,
    "ppo": ppo,
}


def main(settings: BenchSettings) -> None:
    """Run every method on every budget and seed."""
    torch.set_num_threads(settings.threads)
    data = load_data("fashion-mnist", image_size=14)
    allowance = 40 if settings.quick else EVALUATIONS
    seeds = range(1 if settings.quick else 3)
    rows: list[Row] = []
    for budget in BUDGETS[-1:] if settings.quick else BUDGETS:
        quality: dict[str, list[float]] = {}
        for name, method in METHODS.items():
            scores, counts = [], []
            for seed in seeds:
                problem = Problem.build("resnet20", data, budget, seed=seed, measure_latency=False)
                plan = method(problem, allowance, seed)
                ledger = problem.ledger
                counts.append(float(ledger.evaluations + ledger.profile_evaluations))
                repaired = problem.evaluator.repaired(plan)
                value = problem.evaluator.validate(repaired, data.validation)
                quality.setdefault(name, []).append(value)
                scores.append(problem.evaluate(plan).score)
            case = f"{budget}, {name}"
            rows.append(spread(case, "validation accuracy", quality[name]))
            rows.append(
                spread(case, "validation accuracy, standard deviation", [_std(quality[name])])
            )
            rows.append(spread(case, "search score (KL, lower is better)", scores))
            within = max(counts) <= allowance
            rows.append(spread(case, "evaluations", counts, f"at most {allowance}", within))
        rows += _differences(budget, quality)
    notes = (
        "Validation accuracy after the repair, no fine-tuning; low and high are the extremes "
        "over seeds. Differences are paired by seed; their low and high are a 95 % t interval."
    )
    publish("methods", settings, rows, notes)


def _std(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _differences(budget: str, quality: dict[str, list[float]]) -> list[Row]:
    rows = []
    for name, values in quality.items():
        if name == "ppo":
            continue
        differences = np.subtract(quality["ppo"], values)
        mean, n = float(differences.mean()), len(differences)
        half = 4.303 * _std(list(differences)) / n**0.5 if n > 1 else 0.0  # t(0.975, 2 df)
        case = f"{budget}, ppo - {name}"
        row = Row(case, "accuracy difference", mean, mean - half, mean + half, n, "", None)
        rows.append(row)
    return rows


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
