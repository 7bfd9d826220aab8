"""How long the shipped agent takes on a large network, from the module to the smaller one.

ResNet-50 with random weights at 224x224, half the MACs: tracing, the whole profile, the choice,
surgery, repair, and the report with latencies at batch 1. Then the proposal alone, for the same
network loaded again, with the profile in the store.

    python scripts/bench_apply.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
import tyro
from bench import BenchSettings, noise, publish, spread

from rlprune.agents.chosen import DEFAULT
from rlprune.agents.fallback import agent_or_heuristic
from rlprune.api import prune_problem
from rlprune.cache.store import Store
from rlprune.config import LatencySettings
from rlprune.data.splits import DataSplits
from rlprune.machine import keep_freed_memory
from rlprune.models.registry import build_model
from rlprune.problem import Problem

BUDGET = "macs=0.5"
LATENCY = LatencySettings(report=(1,))
MOST_SECONDS, MOST_TO_PROPOSE = 300.0, 3.0
SAMPLES, CLASSES, REPEATS = 64, 1000, 3


def main(settings: BenchSettings) -> None:
    """Apply once, propose a few times more, and publish the seconds."""
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    name, size = ("torchvision:resnet18", 64) if settings.quick else ("torchvision:resnet50", 224)
    data = noise(SAMPLES, size, CLASSES)
    agent = agent_or_heuristic(DEFAULT)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        first = problem(name, data, Path(folder))
        pruned = prune_problem(first, agent, latency=LATENCY)
        whole = time.perf_counter() - started
        proposals = []
        for _ in range(REPEATS):
            again = problem(name, data, Path(folder))
            started = time.perf_counter()
            proposal = agent.propose(again)
            proposals.append(time.perf_counter() - started)
            if proposal.plan != pruned.proposal.plan:
                raise ValueError("the stored profile led to another plan")
    rows = [
        spread(name, "groups", [len(first.graph.groups)]),
        spread(name, "profile evaluations", [pruned.ledger.profile_evaluations]),
        spread(name, "evaluations, seconds", [pruned.ledger.seconds]),
        spread(
            name,
            "apply, seconds",
            [whole],
            f"under {MOST_SECONDS:g}",
            whole < MOST_SECONDS,
        ),
        spread(
            name,
            "proposal with the profile stored, seconds",
            proposals,
            f"under {MOST_TO_PROPOSE:g}",
            max(proposals) < MOST_TO_PROPOSE,
        ),
    ]
    publish("apply", settings, rows, "Means, least and most; imports are not included.")


def problem(name: str, data: DataSplits, folder: Path) -> Problem:
    """Build the network and set up its pruning."""
    torch.manual_seed(0)
    size = data.input_shape[-1]
    model = build_model(name, in_channels=3, num_classes=CLASSES, image_size=size).eval()
    return Problem.build(model, data, BUDGET, measure_latency=False, store=Store(folder))


if __name__ == "__main__":
    main(tyro.cli(BenchSettings, description=__doc__))
