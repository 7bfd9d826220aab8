"""Picture and page of a comparison."""

from __future__ import annotations

from html import escape

from matplotlib.figure import Figure

from rlprune.compare.cells import SCRATCH
from rlprune.compare.result import Comparison, Dense
from rlprune.report.comparison_tables import TITLES, sheets, stages_of
from rlprune.report.page import image_html, page_of, table_html


def comparison_page(result: Comparison) -> str:
    """Return the HTML of `report.html`."""
    device = result.device
    parts = [f"<h2>compare: {escape(result.model)} on {escape(result.data)}</h2>"]
    parts += [f"<p class='warning'>{escape(note)}</p>" for note in result.notes]
    parts.append(
        f"<p>{escape(device.name)} ({device.type}), {device.threads} threads, torch "
        f"{escape(device.torch)}. {result.seeds} seeds; {result.evaluations} evaluations, profiles "
        f"included; standard recipe of {result.finetune_steps} steps. Means ± half a 95 % t "
        f"interval over seeds, on the test split; evals: evaluations + those of a profile. "
        f"{SCRATCH}: the network of {result.baseline} with new weights and the same training. "
        "* on the Pareto front over all budgets.</p>"
    )
    parts += [image_html(comparison_figure(result, dense)) for dense in result.dense]
    for sheet in sheets(result):
        parts.append(f"<h3>{escape(sheet.title)}</h3>{table_html(sheet.columns, sheet.rows)}")
    return page_of("".join(parts))


def comparison_figure(result: Comparison, dense: Dense) -> Figure:
    """Draw quality against kept MACs, one panel for each stage, one line for each method."""
    stages = stages_of(result, dense.model)
    figure = Figure(figsize=(4.5 * max(1, len(stages)) + 2, 4.5), layout="constrained")
    figure.suptitle(f"{dense.model} on {result.data}")
    panels = figure.subplots(1, max(1, len(stages)), squeeze=False)[0]
    for axes, stage in zip(panels, stages, strict=False):
        for i, method in enumerate(result.methods):
            points = sorted(
                (one.kept_macs, value)
                for one in result.summary
                if (one.model, one.method) == (dense.model, method)
                and (value := one.accuracy[stage]) is not None
            )
            style = {"color": f"C{i % 10}", "linestyle": "-" if i < 10 else "--", "marker": "."}
            axes.errorbar(
                [kept for kept, _ in points],
                [value.mean for _, value in points],
                [value.sd or 0.0 for _, value in points],
                label=method,
                linewidth=1,
                capsize=2,
                **style,
            )
        axes.axhline(dense.accuracy, color="black", linewidth=0.8, linestyle=":")
        axes.set_title(TITLES[stage], fontsize=10)
        axes.set_xlabel("kept MACs")
    panels[0].set_ylabel(f"{dense.metric}, test (bars: one standard deviation)")
    if stages:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=7)
    return figure
