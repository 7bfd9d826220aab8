"""Latency of a physically pruned, a zero-masked and an identical network against the dense one.

Plain CNN on 28x28 inputs, half of every group's channels removed, all four networks interleaved.
Only physical removal may be faster: a masked network does the same work, and a copy of the dense
network must measure 1, or the measurement itself is wrong.

    python scripts/bench_latency_triple.py
"""

from __future__ import annotations

import copy

import numpy as np
import torch
import tyro
from bench import BenchSettings, Row, publish
from torch import nn

from rlprune.config import LatencySettings
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.latency.clock import pick_clock
from rlprune.latency.runtime import prepare
from rlprune.latency.timing import measure_interleaved
from rlprune.models.registry import build_model
from rlprune.surgery.plan import Plan


def masked(model: nn.Module, graph: GroupGraph, plan: Plan) -> nn.Module:
    """Return the dense network with the removed channels' weights set to zero."""
    copied = copy.deepcopy(model)
    tensors = copied.state_dict()
    for name, dims in graph.kept_positions(plan.kept).items():
        for dim, kept in dims.items():
            mask = torch.zeros(tensors[name].shape[dim])
            mask[torch.from_numpy(kept)] = 1.0
            tensors[name].mul_(mask.view(-1, *[1] * (tensors[name].ndim - 1 - dim)))
    return copied


def main(settings: BenchSettings) -> None:
    """Measure at batch 64 and 1 on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dense = build_model("plain_cnn", in_channels=1, num_classes=10, image_size=28).eval()
    graph = trace(dense, torch.randn(2, 1, 28, 28))
    plan = Plan.uniform(graph, kept=0.5)
    models = {
        "dense": dense,
        "physical": plan.apply(dense).eval(),
        "masked": masked(dense, graph, plan),
        "self": copy.deepcopy(dense),
    }
    timing = LatencySettings(rounds=20 if settings.quick else 60, round_ms=30)
    limits = {"physical": (0.0, 0.65), "masked": (0.85, 9.9), "self": (0.9, 1.1)}
    rows = []
    for batch in (64, 1):
        images = torch.randn(batch, 1, 28, 28)
        calls = {name: prepare(model, images, timing.runtime) for name, model in models.items()}
        samples = measure_interleaved(calls, timing, pick_clock(images.device))
        for name, (least, most) in limits.items():
            ratios = np.asarray(samples[name]) / np.asarray(samples["dense"])
            low, value, high = (float(q) for q in np.quantile(ratios, [0.25, 0.5, 0.75]))
            checked = batch == 64
            target = f"{least} to {most}" if checked else ""
            ok = least <= value <= most if checked else None
            case = f"{name} / dense, batch {batch}"
            rows.append(Row(case, "latency ratio", value, low, high, timing.rounds, target, ok))
    kept = graph.macs(plan) / graph.macs()
    rows.append(Row("physical", "kept MACs", kept, kept, kept, 1, "", None))
    notes = "Median latency ratios over interleaved rounds, one thread; low and high are quartiles."
    publish("latency_triple", settings, rows, notes)


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
