"""Tables of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from rlprune.compare.records import OVERALL, STAGES, Stage
from rlprune.compare.result import Comparison, Dense
from rlprune.compare.statistics import Estimate
from rlprune.evaluate.tasks import Classification

TITLES: dict[Stage, str] = {
    "repaired": "repaired",
    "50_steps": "50 steps",
    "finetuned": "tuned",
}


@dataclass(frozen=True)
class Sheet:
    """A table of texts with its title; the first column is to the left."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(result: Comparison) -> list[Sheet]:
    """Return all tables of a comparison, network by network."""
    found = []
    for dense in result.dense:
        stages = stages_of(result, dense.model)
        found += [_means(result, dense, budget, stages) for budget in result.budgets]
        found.append(_overall(result, dense, stages))
        found.append(_fidelity(result, dense))
    if result.refused:
        rows = {(r.model, r.method, r.budget, r.reason): "" for r in result.refused}
        found.append(Sheet("left out", ("model", "method", "budget", "why"), tuple(rows)))
    return [sheet for sheet in found if sheet.rows]


def stages_of(result: Comparison, model: str) -> list[Stage]:
    """Return the stages of training that a network's rows have."""
    summary = [one for one in result.summary if one.model == model]
    return [stage for stage in STAGES if any(one.accuracy[stage] for one in summary)]


def terminal_tables(result: Comparison) -> list[Table]:
    """Return the tables for a terminal."""
    tables = []
    for sheet in sheets(result):
        table = Table(title=sheet.title, box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
        for i, column in enumerate(sheet.columns):
            table.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0)
        for row in sheet.rows:
            table.add_row(*row)
        tables.append(table)
    return tables


def _means(result: Comparison, dense: Dense, budget: str, stages: Sequence[Stage]) -> Sheet:
    """Return one row for each method at a budget, the best one first."""
    last = stages[-1] if stages else "repaired"
    here = (dense.model, budget, last)
    gains = {
        d.method: d.difference for d in result.differences if (d.model, d.budget, d.stage) == here
    }
    front = {f.method for f in result.pareto if (f.model, f.budget, f.stage) == here}
    latency = any(one.kept_latency is not None for one in result.summary)
    ours = [one for one in result.summary if (one.model, one.budget) == (dense.model, budget)]
    rows = [
        (
            f"{one.method}{'*' if one.method in front else ''}",
            f"{one.kept_macs:.3f}",
            *([_number(one.kept_latency, 3)] if latency else []),
            f"{one.evaluations:.0f}+{one.profile_evaluations:.0f}",
            *(_spread(one.accuracy[stage], dense) for stage in stages),
            _spread(gains.get(one.method), dense, signed=True),
        )
        for one in sorted(ours, key=lambda one: -_mean(one.accuracy[last]))
    ]
    columns = (
        "method",
        "MACs",
        *(["latency"] if latency else []),
        "evals",
        *(TITLES[stage] for stage in stages),
        f"- {result.baseline}",
    )
    title = (
        f"{dense.model} at {budget}: {_unit(dense)} (test), dense "
        f"{_points(dense.accuracy, dense)}, {result.seeds} seeds"
    )
    return Sheet(title, columns, tuple(rows))


def _mean(value: Estimate | None) -> float:
    return value.mean if value is not None else 0.0


def _overall(result: Comparison, dense: Dense, stages: Sequence[Stage]) -> Sheet:
    """Return what methods come to over all budgets; nothing where there is only one."""
    rows = []
    for method in result.methods if len(result.budgets) > 1 else ():
        row = [method]
        for stage in stages:
            volume = [
                v.hypervolume
                for v in result.hypervolume
                if (v.model, v.method, v.stage) == (dense.model, method, stage)
            ]
            gain = [
                d.difference
                for d in result.differences
                if (d.model, d.method, d.stage, d.budget) == (dense.model, method, stage, OVERALL)
            ]
            row.append(_spread(volume[0] if volume else None, dense))
            row.append(_spread(gain[0] if gain else None, dense, signed=True))
        rows.append(tuple(row))
    columns = [(f"{TITLES[s]}: area", f"- {result.baseline}") for s in stages]
    return Sheet(
        f"{dense.model}, all budgets: hypervolume, and mean difference ({_unit(dense)})",
        ("method", *(text for pair in columns for text in pair)),
        tuple(rows),
    )


def _fidelity(result: Comparison, dense: Dense) -> Sheet:
    rows = [
        (
            one.budget,
            TITLES[one.stage],
            str(one.n),
            _number(one.spearman, 2),
            _points(one.regret_top_1, dense),
            _points(one.regret_top_3, dense),
        )
        for one in result.fidelity
        if one.model == dense.model
    ]
    return Sheet(
        f"{dense.model}: how the search score ranks networks ({_unit(dense)}, validation)",
        ("budget", "against", "networks", "Spearman", "regret of top 1", "of top 3"),
        tuple(rows),
    )


def _spread(value: Estimate | None, dense: Dense, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    mean = _points(value.mean, dense, "+" if signed else "")
    if value.low is None or value.high is None:
        return mean
    return f"{mean} ±{_points((value.high - value.low) / 2, dense)}"


def _points(value: float, dense: Dense, sign: str = "") -> str:
    """Write an accuracy in percent, with one digit, and anything else with two."""
    return f"{100 * value:{sign}.1f}" if _is_accuracy(dense) else f"{value:{sign}.2f}"


def _unit(dense: Dense) -> str:
    return "accuracy in %" if _is_accuracy(dense) else dense.metric


def _is_accuracy(dense: Dense) -> bool:
    return dense.metric == Classification.metric


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
