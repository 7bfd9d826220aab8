"""What an episode costs beside the forward passes of its candidate, and beside three rival loops.

An episode of ours: reset, one environment step per group, decoding, materialising, evaluating,
reward. The candidate's own forward passes are those of the same pruned network as a copy of its
own, already materialised, on the same resident samples in the same layout. Every loop evaluates
with one pass that recalibrates BatchNorm and scores (the default, benchmarks/passes.md); inputs
have their channels last for everyone; random weights and images. oneDNN generates kernels for
shapes that it has not seen, which is part of the first pass of any new network, whoever made it:
every plan is evaluated once before anything is timed, and how much longer that takes is a row.

Rivals, each with its own fast path and asked for the very widths of our plan:

- pruner: a deep copy, torch-pruning's BasePruner with a ratio for each layer, one step, evaluate;
- layer by layer: a deep copy, torch-pruning's graph once, then per group one pruning call and one
  FLOPs query (`count_ops_and_params` on one image), as AMC needs them, then evaluate;
- masked: removed channels set to zero in place in one copy of the full network, restored before the
  next plan, evaluate at full size.

The ideal ratio is the rival's whole episode over the candidate's own passes; what is reached of it
is the same over our whole episode.

    python scripts/bench_episode.py
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np
import torch
import torch_pruning as tp
import tyro
from bench import BenchSettings, Row, publish, spread
from episodes import Bench, actions_of, build, environment, episode, prepare
from torch import Tensor, nn

from rlprune.evaluate.recalibrate import collecting_statistics
from rlprune.surgery.plan import Plan

CASES = (
    ("resnet20", 32, 512),
    ("resnet56", 32, 512),
    ("mobilenetv2", 32, 512),
    ("torchvision:resnet50", 224, 32),
    ("torchvision:densenet121", 224, 32),
)
MOST_OVERHEAD, MOST_OVERHEAD_OF = 0.15, {"torchvision:resnet50": 0.05}
LEAST_OF_IDEAL, MOST_STEP_MS = 0.9, 1.0

medians = partial(spread, centre=median)


def passes(bench: Bench, model: nn.Module) -> Tensor:
    """Run the one pass that recalibrates and scores."""
    with collecting_statistics(model), torch.inference_mode():
        outputs: Tensor = model(bench.images)
    return outputs


def evaluated(bench: Bench, model: nn.Module) -> float:
    """Run the pass and compute the search score."""
    evaluator = bench.problem.evaluator
    outputs = passes(bench, model)
    return float(evaluator.task.divergence(outputs, evaluator.dense_outputs))


def timed(task: Callable[[], object]) -> float:
    """Return seconds."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def pruner_loop(bench: Bench, plan: Plan) -> nn.Module:
    """Let torch-pruning make and evaluate the same network in one step."""
    small = copy.deepcopy(bench.model)
    pruner = tp.pruner.BasePruner(
        small,
        bench.images[:1],
        importance=tp.importance.MagnitudeImportance(),
        pruning_ratio=0.0,
        pruning_ratio_dict={
            small.get_submodule(name): 1 - (kept + 0.5) / width
            for names, kept, width in _widths(plan)
            for name in names
            if kept < width
        },
        ignored_layers=_classifiers(small),
        # Its defaults are shared between calls, so that networks would be kept alive in them.
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
        channel_groups={},
    )
    pruner.step()
    evaluated(bench, small)
    return small


def layer_loop(bench: Bench, plan: Plan) -> nn.Module:
    """Prune group by group and count FLOPs after each, then evaluate."""
    small = copy.deepcopy(bench.model)
    graph = tp.DependencyGraph().build_dependency(small, bench.images[:1], verbose=False)
    for names, kept, width in _widths(plan):
        layer = small.get_submodule(names[0])
        depthwise = isinstance(layer, nn.Conv2d) and layer.groups == layer.out_channels > 1
        prune = tp.prune_depthwise_conv_out_channels if depthwise else _prune_out(layer)
        if kept < width:
            graph.get_pruning_group(layer, prune, idxs=list(range(width - kept))).prune()
        tp.utils.count_ops_and_params(small, bench.images[:1])
    evaluated(bench, small)
    return small


class Masked:
    """The full network in which removed channels are zero."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._model = copy.deepcopy(bench.model)
        tensors = self._model.state_dict(keep_vars=True)
        outs = [piece for piece in bench.graph.slices if not piece.reads]
        self._tensors = {p.tensor: tensors[p.tensor].detach() for p in outs if p.tensor in tensors}
        self._pristine = {name: tensor.clone() for name, tensor in self._tensors.items()}
        self._dims = {(piece.tensor, piece.dim) for piece in outs}

    def loop(self, plan: Plan) -> nn.Module:
        """Restore, mask and evaluate."""
        positions = self._bench.graph.kept_positions(plan.kept)
        for name, tensor in self._tensors.items():
            tensor.copy_(self._pristine[name])
            for dim, kept in positions[name].items():
                if (name, dim) in self._dims:
                    gone = np.setdiff1d(np.arange(tensor.shape[dim]), kept)
                    tensor.index_fill_(dim, torch.from_numpy(gone), 0)
        evaluated(self._bench, self._model)
        return self._model


def _widths(plan: Plan) -> list[tuple[list[str], int, int]]:
    """Return producing layers, kept and dense width of every group of channels."""
    return [
        (
            [m for m in group.members if not m.endswith(" (in)")],
            len(plan.kept[group.name]),
            group.width,
        )
        for group in plan.graph.groups
        if group.kind == "channels"
    ]


def _classifiers(model: nn.Module) -> Sequence[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]


def _prune_out(layer: nn.Module) -> object:
    linear = isinstance(layer, nn.Linear)
    return tp.prune_linear_out_channels if linear else tp.prune_conv_out_channels


def measure(spec: str, size: int, batch: int, repeats: int) -> list[Row]:
    """Time our episodes and the rivals on one network, in turn."""
    bench = prepare(spec, build(spec, size), size, batch)
    env = environment(bench)
    masked = Masked(bench)
    rivals: dict[str, Callable[[Plan], nn.Module]] = {
        "pruner": lambda plan: pruner_loop(bench, plan),
        "layer by layer": lambda plan: layer_loop(bench, plan),
        "masked": masked.loop,
    }
    whole, own, first, steps = [], [], [], []
    evaluator = bench.problem.evaluator
    rival_seconds: dict[str, list[float]] = {name: [] for name in rivals}
    sizes: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repeats):
        actions = actions_of(bench)
        new = episode(bench, env, actions)
        copied = new.plan.apply(bench.model)
        passes(bench, copied)  # what came before, such as a rival, has left memory cold
        evaluator._cache.clear()  # so that the same plan is evaluated again
        ours = episode(bench, env, actions)
        own.append(median(timed(partial(passes, bench, copied)) for _ in range(3)))
        whole.append(ours.seconds)
        first.append(new.seconds / ours.seconds)
        steps += [1e3 * s for s in ours.steps]
        for name, loop in rivals.items():
            start = time.perf_counter()
            small = loop(ours.plan)
            rival_seconds[name].append(time.perf_counter() - start)
            sizes[name].append(_size(small) / bench.graph.params(ours.plan))
    return _rows(bench, whole, own, first, steps, rival_seconds, sizes)


def _rows(
    bench: Bench,
    whole: list[float],
    own: list[float],
    first: list[float],
    steps: list[float],
    rivals: dict[str, list[float]],
    sizes: dict[str, list[float]],
) -> list[Row]:
    name = bench.name
    limit = MOST_OVERHEAD_OF.get(name, MOST_OVERHEAD)
    overhead = [a / b - 1 for a, b in zip(whole, own, strict=True)]
    rows = [
        spread(f"{name}: groups", "count", [len(bench.graph.groups)]),
        medians(f"{name}: candidate's own passes", "seconds", own),
        medians(f"{name}: episode", "seconds", whole),
        medians(f"{name}: episode with shapes never seen / the same again", "ratio", first),
        medians(
            f"{name}: overhead over own passes",
            "ratio",
            overhead,
            f"at most {limit:g}",
            median(overhead) <= limit,
        ),
        medians(
            f"{name}: environment step but the last",
            "ms",
            steps,
            f"under {MOST_STEP_MS:g}",
            max(steps) < MOST_STEP_MS,
        ),
    ]
    for rival, seconds in rivals.items():
        ideal = [a / b for a, b in zip(seconds, own, strict=True)]
        reached = [a / b for a, b in zip(seconds, whole, strict=True)]
        shares = [a / b for a, b in zip(reached, ideal, strict=True)]
        rows += [
            medians(f"{name}: {rival}, episode", "seconds", seconds),
            medians(f"{name}: {rival}, its parameters / ours", "ratio", sizes[rival]),
            medians(f"{name}: {rival}, ideal", "times faster", ideal),
            medians(
                f"{name}: {rival}, ours", "times faster", reached, "above 1", median(reached) > 1
            ),
            medians(
                f"{name}: {rival}, share of the ideal",
                "ratio",
                shares,
                f"at least {LEAST_OF_IDEAL:g}",
                median(shares) >= LEAST_OF_IDEAL,
            ),
        ]
    return rows


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def main(settings: BenchSettings) -> None:
    """Measure every network on one thread."""
    warnings.simplefilter("ignore")  # torch-pruning uses what torch has deprecated
    torch.set_num_threads(1)
    rows: list[Row] = []
    cases: Sequence[tuple[str, int, int]] = CASES[:1] if settings.quick else CASES
    for spec, size, batch in cases:
        repeats = 3 if settings.quick else 9 if size == 32 else 5
        rows += measure(spec, size, batch, repeats)
    notes = (
        "One pass over all samples per evaluation, for everyone; one thread; float32. Medians (in "
        "the column of means) with least and most over episodes, each of another plan; ratios are "
        "taken within an episode."
    )
    publish("episode", settings, rows, notes)


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
