"""Measuring a table: random plans taken apart in context, and a few end to end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import nn

from rlprune.calling import Inputs, tensors_in
from rlprune.config import LatencySettings
from rlprune.cost.analytic import Widths
from rlprune.graph.group_graph import GroupGraph
from rlprune.latency.clock import Clock, pick_clock
from rlprune.latency.draw import draw_widths
from rlprune.latency.runtime import prepare
from rlprune.latency.segments import segments_of
from rlprune.latency.stamps import ClockStamps, EventStamps, Stamps, instrument
from rlprune.latency.table import Anchor, OperatorTable, Point
from rlprune.latency.timing import measure_interleaved, ratio
from rlprune.machine import keep_freed_memory
from rlprune.surgery.plan import Plan

PLANS, ANCHORS = 16, 8

_BROKEN_SEED = 1
_ROUNDS = 3
_PASSES = 2


def measure_table(
    model: nn.Module,
    graph: GroupGraph,
    batch: Inputs,
    settings: LatencySettings,
    key: str,
    *,
    multiple: int = 1,
    round_to: npt.ArrayLike | None = None,
    plans: int = PLANS,
    anchors: int = ANCHORS,
    clock: Clock | None = None,
) -> OperatorTable:
    """Measure what predicts the latency of any widths of a network.

    Args:
        model: the dense network, in eval mode.
        graph: its dependency groups.
        batch: inputs of the timed forward pass, on the model's device.
        settings: runtime, and rounds and least time per round of what is measured end to end.
        key: says what the table is for, see `OperatorTable`.
        multiple: channels that the device takes at once, see `measure_granularity`.
        round_to: of what the widths to predict will be multiples, one number or one for each group;
            `multiple` by default.
        plans: how many are taken apart: the dense network, others at multiples of `round_to`, and
            a third at multiples of half of it.
        anchors: how many are measured end to end, all at multiples of `round_to`.
        clock: to read; the steadiest for the device by default.

    Raises:
        LatencyError: if torch.compile cannot compile the network.
        ExportError: if ONNX Runtime is not installed or cannot run the network.
    """
    clock = clock or pick_clock(tensors_in(batch)[0].device)
    steps = np.asarray(multiple if round_to is None else round_to)
    whole = draw_widths(graph, plans - plans // 3, steps)
    # What not rounding costs is known too, but does not count end to end.
    broken = draw_widths(graph, 1 + plans // 3, np.maximum(steps // 2, 1), _BROKEN_SEED)[1:]
    widths = np.concatenate([whole, broken])
    points, seconds = measure_points(model, graph, batch, widths, clock)
    dense_ms = sum(points[0].ms.values())
    table = OperatorTable(
        key=key,
        dense=tuple(graph.widths.tolist()),
        multiple=multiple,
        segments=segments_of(graph),
        points=tuple(points),
        anchors=(),
        passes=1e3 * seconds / max(dense_ms, 1e-9),
    )
    chosen = whole[1:][_spread(table.predicted(whole[1:]), anchors)]
    found, passes = measure_anchors(model, graph, batch, chosen, settings, clock)
    return table.extended((), found, passes)


def measure_points(
    model: nn.Module, graph: GroupGraph, batch: Inputs, widths: Widths, clock: Clock
) -> tuple[list[Point], float]:
    """Time the segments of plans, interleaved over the plans; the least time of each counts.

    What disturbs a single thread only ever adds time, and the sum is calibrated afterwards.

    Args:
        model: the dense network, in eval mode.
        graph: its dependency groups.
        batch: inputs, on the model's device.
        widths: of the plans; shape `(plans, groups)`.
        clock: to read.

    Returns:
        One point per plan, and the seconds that all forward passes took, warm-up included.
    """
    keep_freed_memory()
    device = tensors_in(batch)[0].device
    stamps: Stamps = EventStamps() if device.type == "cuda" else ClockStamps(clock)
    modules = [segment.module for segment in segments_of(graph)]
    chosen = [Plan.from_widths(graph, one) for one in widths]
    least: list[dict[str, float]] = [{} for _ in chosen]
    total_ms = 0.0
    for turn in range(_ROUNDS):
        for index in range(len(chosen))[:: -1 if turn % 2 else 1]:
            # Made again every time: all of them at once may not fit, into memory nor into the
            # cache of kernels that oneDNN generates.
            taken = instrument(chosen[index].apply(model), modules, stamps)
            passes = [taken.run(batch) for _ in range(1 + _PASSES)]
            total_ms += sum(sum(ms.values()) for ms in passes)
            for ms in passes[1:]:
                for name, value in ms.items():
                    least[index][name] = min(value, least[index].get(name, value))
    points = [
        Point(widths=plan.widths.tolist(), ms=ms) for plan, ms in zip(chosen, least, strict=True)
    ]
    return points, total_ms / 1e3


def measure_anchors(
    model: nn.Module,
    graph: GroupGraph,
    batch: Inputs,
    widths: Widths,
    settings: LatencySettings,
    clock: Clock,
) -> tuple[list[Anchor], float]:
    """Time plans end to end, interleaved with the dense network.

    Args:
        model: the dense network, in eval mode.
        graph: its dependency groups.
        batch: inputs, on the model's device.
        widths: of the plans; shape `(plans, groups)`.
        settings: runtime, rounds and least time per round.
        clock: to read.

    Returns:
        One anchor per plan, and the time of all rounds in dense forward passes.
    """
    chosen = {str(i): Plan.from_widths(graph, one) for i, one in enumerate(widths)}
    networks = {"dense": model, **{name: plan.apply(model) for name, plan in chosen.items()}}
    calls = {name: prepare(network, batch, settings.runtime) for name, network in networks.items()}
    samples = measure_interleaved(calls, settings, clock)
    anchors = [
        Anchor(widths=plan.widths.tolist(), kept=ratio(samples[name], samples["dense"]))
        for name, plan in chosen.items()
    ]
    passes = sum(map(sum, samples.values())) / float(np.median(samples["dense"]))
    return anchors, passes


def _spread(predicted: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Return the indices of `count` plans that cover the predicted ratios evenly."""
    order = np.argsort(predicted)
    ranks = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return np.asarray(order[ranks])
