"""Finding the groups of a network, and removing half of them, beside torch-pruning.

ResNet-50 and DenseNet-121 with random weights; both libraries take turns on one thread and get the
same example, one image. Finding is the graph with all groups: torch-pruning's build_dependency and
get_all_groups, and here the recorded forward pass with its groups. The whole `trace`, which ends
with a check by pruning that torch-pruning does not make, is timed for information. Removing is,
here, a plan that is applied to the traced network, and there what every new decision costs: a copy
of the network and a pruner's step, with the graph that its constructor builds.

    python scripts/bench_surgery.py
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch_pruning as tp
import tyro
from bench import BenchSettings, Row, publish, spread
from torch import Tensor, nn

from rlprune.graph.compile import compile_graph
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.record import record
from rlprune.graph.trace import trace
from rlprune.graph.units import Units
from rlprune.models.registry import build_model
from rlprune.surgery.plan import Plan

NETWORKS = ("torchvision:resnet50", "torchvision:densenet121")
IMAGE_SIZE, CLASSES = 224, 1000
MOST_FOR_COMPILING, LEAST_FOR_REPLAYING = 2.0, 10.0

medians = partial(spread, centre=median)


def build(spec: str) -> nn.Module:
    """Build a network with random weights."""
    torch.manual_seed(0)
    sizes = {"in_channels": 3, "num_classes": CLASSES, "image_size": IMAGE_SIZE}
    return build_model(spec, **sizes).eval()


def compiled(model: nn.Module, images: Tensor) -> GroupGraph:
    """Find the groups, without the check by pruning."""
    copied = copy.deepcopy(model).eval()
    recording = record(copied, images)
    return compile_graph(recording, Units(recording, {}, residual_width=False), copied, {})


def found_by_torch_pruning(model: nn.Module, images: Tensor) -> int:
    """Let torch-pruning find its groups; return how many."""
    graph = tp.DependencyGraph().build_dependency(model, images, verbose=False)
    return len(list(graph.get_all_groups()))


def halved_by_torch_pruning(model: nn.Module, images: Tensor) -> nn.Module:
    """Let torch-pruning halve a copy of a network, all but its classifier."""
    copied = copy.deepcopy(model)
    classifier = [m for m in copied.modules() if isinstance(m, nn.Linear)][-1]
    pruner = tp.pruner.BasePruner(
        copied,
        images,
        importance=tp.importance.MagnitudeImportance(),
        pruning_ratio=0.5,
        ignored_layers=[classifier],
        # Its defaults are shared between calls, so that networks would be kept alive in them.
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
        channel_groups={},
    )
    pruner.step()
    return copied


def taking_turns(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return seconds per task and repeat, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(repeats + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def measure(spec: str, repeats: int) -> list[Row]:
    """Time both libraries on one network."""
    model, images = build(spec), torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    graph = trace(model, images)
    plan = Plan.uniform(graph, kept=0.5)
    seconds = taking_turns(
        {
            "torch-pruning, groups": lambda: found_by_torch_pruning(model, images),
            "rlprune, groups": lambda: compiled(model, images),
            "rlprune, groups and check": lambda: trace(model, images),
            "torch-pruning, halved": lambda: halved_by_torch_pruning(model, images),
            "rlprune, halved": lambda: plan.apply(model),
        },
        repeats,
    )
    rows = [medians(f"{spec}: {name}", "seconds", values) for name, values in seconds.items()]
    compiling = _ratios(seconds["rlprune, groups"], seconds["torch-pruning, groups"])
    checking = _ratios(seconds["rlprune, groups and check"], seconds["torch-pruning, groups"])
    replaying = _ratios(seconds["torch-pruning, halved"], seconds["rlprune, halved"])
    ours, theirs = plan.apply(model), halved_by_torch_pruning(model, images)
    dense = _size(model)
    return [
        *rows,
        medians(
            f"{spec}: groups, rlprune / torch-pruning",
            "ratio",
            compiling,
            f"at most {MOST_FOR_COMPILING:g}",
            median(compiling) <= MOST_FOR_COMPILING,
        ),
        medians(f"{spec}: groups and check, rlprune / torch-pruning", "ratio", checking),
        medians(
            f"{spec}: halved, torch-pruning / rlprune",
            "ratio",
            replaying,
            f"at least {LEAST_FOR_REPLAYING:g}",
            median(replaying) >= LEAST_FOR_REPLAYING,
        ),
        medians(f"{spec}: rlprune, halved", "kept parameters", [_size(ours) / dense]),
        medians(f"{spec}: torch-pruning, halved", "kept parameters", [_size(theirs) / dense]),
    ]


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def main(settings: BenchSettings) -> None:
    """Measure on one thread."""
    warnings.simplefilter("ignore")  # torch-pruning uses what torch has deprecated
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks = NETWORKS[:1] if settings.quick else NETWORKS
    rows = [row for spec in networks for row in measure(spec, 5 if settings.quick else 9)]
    notes = (
        "Medians (in the column of means) over repeats in turn, with least and most; one thread, "
        "one image of 224 x 224 for both libraries. Ratios are taken within a repeat. `groups and "
        "check` is the whole of `rlprune.trace`: information, without a target."
    )
    publish("surgery", settings, rows, notes)


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
