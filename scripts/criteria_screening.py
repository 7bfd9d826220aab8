"""Rows of the criteria benchmark: whether screening finds what it is meant to find.

Streaming F against scipy's, on the probe's own activations with classes of very different sizes.
Planted channels that read noise with large weights: all of them should score below every other
channel of their layer by F, and above by L1. Accuracy after 30 % of every layer has gone and
BatchNorm is recalibrated, by the combined score and by its parts alone, on the validation split.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from bench import BenchSettings, Row, spread
from scipy.stats import f_oneway
from torch import Tensor, nn
from train_dense import train

from rlprune.calling import take
from rlprune.criteria.base import PROBE_SAMPLES, ChannelScores, Probe
from rlprune.criteria.reading import readings_of
from rlprune.criteria.registry import channel_scores
from rlprune.criteria.screening import ScreeningF
from rlprune.criteria.watching import watching
from rlprune.data.registry import load_data
from rlprune.data.splits import DataSplits
from rlprune.evaluate.evaluator import measure_quality
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace
from rlprune.models.registry import load_model
from rlprune.surgery.plan import Plan

EPOCHS = 4
SAMPLES = 512
KEPT = 0.7
POINTS = 2.0
PLANTED = 4
PARTS = ("screening-f", "l1")
CRITERIA = ("screening", *PARTS, "screening-one-vs-rest", "l2", "random")


def rows(settings: BenchSettings) -> list[Row]:
    """Measure three draws of the probe on the shipped network, and three trained networks."""
    seeds = range(1 if settings.quick else 3)
    data = load_data("fashion-mnist", image_size=14)
    shipped = load_model("plain_cnn", data).module
    probes = [_probe(shipped, data, seed) for seed in seeds]
    large = [_probe(shipped, data, seed, samples=PROBE_SAMPLES) for seed in seeds]
    found = [
        _f_row([difference_to_scipy(probe) for probe in large]),
        *_planted_rows([planted_places(probe) for probe in probes]),
        *_pruned_rows("shipped plain_cnn, draws of the probe", data, probes),
    ]
    if not settings.quick:
        trained = [train("plain_cnn", data, EPOCHS, seed, 0.1, shift=0).module for seed in seeds]
        probes = [_probe(one, data, seed) for seed, one in zip(seeds, trained, strict=True)]
        found += _pruned_rows("trained plain_cnn, seeds of training", data, probes)
    return found


def _probe(model: nn.Module, data: DataSplits, seed: int, samples: int = SAMPLES) -> Probe:
    graph = trace(model.eval(), data.search.tensors(2)[0])
    return Probe.build(model, graph, data, Classification(), samples=samples, seed=seed)


def difference_to_scipy(probe: Probe) -> float:
    """Return the largest relative difference of F to scipy's, class k having 1 / (k + 1) as many.

    Layers are read here by one hook each and one batch, without anything that streams.
    """
    picked = torch.cat([_some_of(probe.targets, k) for k in set(probe.targets.tolist())])
    uneven = replace(probe, inputs=take(probe.inputs, picked), targets=probe.targets[picked])
    readings = readings_of(uneven.model, uneven.graph)
    ours = ScreeningF().of(uneven, readings)
    with watching(uneven.model, readings) as seen, torch.no_grad():
        uneven.model(uneven.inputs)
    worst = 0.0
    for reading, one in zip(readings, ours, strict=True):
        read = seen[reading.module, True][0].double()
        features = (read.mean((2, 3)) if read.ndim > 2 else read).numpy()
        classes = [features[(uneven.targets == k).numpy()] for k in set(uneven.targets.tolist())]
        varying = features.std(0) > 0
        theirs = f_oneway(*classes).statistic[varying]
        worst = max(worst, float(np.max(np.abs(one.numpy()[varying] / theirs - 1))))
    return worst


def _some_of(targets: Tensor, k: int) -> Tensor:
    where = (targets == k).nonzero().flatten()
    return where[: max(2, len(where) // (k + 1))]


def planted_places(probe: Probe) -> dict[str, float]:
    """Return the share of planted channels that each criterion puts where it should.

    The network gets a second input channel, which is noise, and `PLANTED` channels of its first
    layer read nothing else, by large random weights; nothing reads them.
    """
    generator = torch.Generator().manual_seed(probe.seed)
    model = copy.deepcopy(probe.model)
    first, second = (cast(nn.Conv2d, model.get_submodule(f"features.{i}")) for i in (0, 3))
    norm = cast(nn.BatchNorm2d, model.get_submodule("features.1"))
    with torch.no_grad():
        weight = torch.cat([first.weight, torch.zeros_like(first.weight)], 1)
        noisy = torch.randn(PLANTED, 1, 3, 3, generator=generator)
        weight[:PLANTED, 0], weight[:PLANTED, 1:] = 0, 30 * noisy
        first.weight, first.in_channels = nn.Parameter(weight), 2
        second.weight[:, :PLANTED] = 0
        norm.weight[:PLANTED], norm.bias[:PLANTED] = 1, 0
    images = cast(Tensor, probe.inputs)
    both = torch.cat([images, torch.randn(images.shape, generator=generator)], 1)
    recalibrate(model, both)
    planted = replace(probe, model=model, graph=trace(model, both[:2]), inputs=both)
    by_f, by_l1 = (channel_scores(name, planted)["features.0"] for name in PARTS)
    return {
        "below all others by F": float((by_f[:PLANTED] < by_f[PLANTED:].min()).double().mean()),
        "above all others by L1": float((by_l1[:PLANTED] > by_l1[PLANTED:].max()).double().mean()),
    }


def accuracy(probe: Probe, data: DataSplits, criterion: str) -> float:
    """Return the accuracy, in per cent, that is left of a network without its worst channels."""
    scores: ChannelScores = channel_scores(criterion, probe)
    widths = np.rint(KEPT * probe.graph.widths).astype(np.int64)
    small = Plan.from_widths(probe.graph, widths, scores).apply(probe.model)
    recalibrate(small, data.search.tensors()[0])
    return 100 * measure_quality(small, data.validation, Classification())


def _f_row(values: list[float]) -> Row:
    case, metric = "shipped plain_cnn, draws of the probe", "F, relative difference to scipy's"
    return spread(case, metric, values, "at most 1e-6", max(values) <= 1e-6)


def _planted_rows(places: list[dict[str, float]]) -> Iterator[Row]:
    for metric in places[0]:
        values = [one[metric] for one in places]
        case = f"{PLANTED} planted noise channels"
        yield spread(case, f"share {metric}", values, "1", min(values) == 1)


def _pruned_rows(case: str, data: DataSplits, probes: list[Probe]) -> Iterator[Row]:
    found = {name: [accuracy(probe, data, name) for probe in probes] for name in CRITERIA}
    for name, values in found.items():
        yield spread(f"{case}, {name}", "accuracy at 30 % local removal, %", values)
    singles = [max(pair) for pair in zip(*(found[name] for name in PARTS), strict=True)]
    for rival, theirs, least in (
        ("the better of F and L1", singles, -POINTS),
        ("random", found["random"], 0.0),
    ):
        margins = [a - b for a, b in zip(found["screening"], theirs, strict=True)]
        met = min(margins) >= least
        yield spread(case, f"screening minus {rival}, points", margins, f"at least {least:g}", met)
