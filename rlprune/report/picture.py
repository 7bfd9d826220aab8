"""Pictures of a run, drawn with matplotlib."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from rlprune.report.result import Result
from rlprune.report.terminal import stages_of

COLOURS = {"dense": "#9aa5b1", "pruned": "#e07a3f", "finetuned": "#2a7f62"}


def result_figure(result: Result) -> Figure:
    """Draw quality, cost and latency beside the channels that every group keeps."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    figure.suptitle(f"{result.model} on {result.data}: pruned by {result.search.method}")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    stages = stages_of(result)
    dense = stages["dense"]
    batches = [f"latency,\n{batch.replace('_', ' ')}" for batch in dense.latency_ms]
    labels = [dense.metric.name, "MACs", "params", *batches]
    for i, (name, m) in enumerate(stages.items()):
        values = [
            m.metric.value / (dense.metric.value or 1.0),  # a network that gets nothing right
            m.macs / dense.macs,
            m.params / dense.params,
            *(m.latency_ms[b].median / dense.latency_ms[b].median for b in dense.latency_ms),
        ]
        places = np.arange(len(values)) + (i - (len(stages) - 1) / 2) * 0.27
        bars = left.bar(places, values, 0.25, label=name, color=COLOURS[name])
        left.bar_label(bars, fmt="%.2f", fontsize=7)
    left.set_xticks(range(len(labels)), labels, fontsize=8)
    left.set_ylabel("relative to the dense network")
    left.set_title("test split; latency measured", fontsize=10)
    left.set_ylim(top=1.2 * left.get_ylim()[1])  # room for the legend above the bars
    left.legend(fontsize=8, loc="upper center", ncols=len(stages))
    groups = [group for group in result.groups if group.kind != "block"]
    names = [group.name for group in groups]
    right.barh(names, [g.width for g in groups], color=COLOURS["dense"], label="dense")
    right.barh(names, [g.kept for g in groups], color=COLOURS["finetuned"], label="kept")
    right.invert_yaxis()
    right.tick_params(axis="y", labelsize=max(4, 9 - len(names) // 8))
    right.set_xlabel("channels")
    right.set_title(f"kept per dependency group{_blocks(result)}", fontsize=10)
    right.legend(fontsize=8)
    return figure


def _blocks(result: Result) -> str:
    blocks = [group for group in result.groups if group.kind == "block"]
    kept = sum(group.kept for group in blocks)
    return f"; {kept} of {len(blocks)} blocks kept" if blocks else ""


def training_figure(result: Result) -> Figure:
    """Draw the return of every episode and its moving mean."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    returns = np.asarray(result.training.returns if result.training else (), dtype=np.float64)
    axes.plot(returns, ".", markersize=3, color=COLOURS["dense"], label="episode")
    window = max(1, len(returns) // 10)
    if len(returns) >= window > 0:
        mean = np.convolve(returns, np.ones(window) / window, mode="valid")
        places = np.arange(window - 1, len(returns))
        axes.plot(places, mean, color=COLOURS["pruned"], label=f"mean of {window}")
    axes.axhline(0.0, color="black", linewidth=0.8, linestyle="--", label="heuristic")
    axes.set_xlabel("episode")
    axes.set_ylabel("return")
    axes.set_title(f"training on {result.model} ({result.data})")
    axes.legend(fontsize=8)
    return figure
