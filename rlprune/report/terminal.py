"""Summaries of runs as terminal tables."""

from __future__ import annotations

from rich import box
from rich.table import Table

from rlprune.latency.timing import TOLERANCE
from rlprune.report.result import BudgetRecord, GroupRecord, Measured, Result

STAGES = ("dense", "pruned", "finetuned")


def stages_of(result: Result) -> dict[str, Measured]:
    """Return the networks that a result holds measurements of, in order."""
    found = {name: getattr(result, name) for name in STAGES}
    return {name: measured for name, measured in found.items() if measured is not None}


def rows_of(result: Result) -> list[tuple[str, ...]]:
    """Return one row per measured network: metric, cost and latency against the dense one."""
    rows = []
    for name, m in stages_of(result).items():
        dense = result.dense or m
        ratios = [
            f"{m.latency_ms[batch].median:.2f} ms ({_percent(m, dense, batch)})"
            for batch in m.latency_ms
        ]
        rows.append(
            (
                name,
                f"{m.metric.value:.4f}",
                f"{short(m.macs)} ({m.macs / dense.macs:.0%})",
                f"{short(m.params)} ({m.params / dense.params:.0%})",
                f"{short(m.bytes)}B",
                f"{short(m.activation_bytes)}B",
                *ratios,
            )
        )
    return rows


def short(count: float) -> str:
    """Write a count with three digits, such as 2.53M."""
    for unit in ("", "k", "M", "G"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}T"


def columns_of(result: Result) -> tuple[str, ...]:
    """Return the headings of `rows_of`."""
    dense = result.dense
    metric = f"{dense.metric.name} ({dense.split})" if dense else "metric"
    batches = tuple(f"latency, {b.replace('_', ' ')}" for b in (dense.latency_ms if dense else ()))
    return ("network", metric, "MACs (kept)", "params (kept)", "file", "peak memory", *batches)


def result_table(result: Result) -> Table:
    """Return the before-and-after table of an apply run."""
    budgets = ", ".join(f"{b.quantity} <= {b.kept:g}{_achieved(b)}" for b in result.budgets)
    constraints = "".join(
        f", {c.constraint} (got {c.reached:.4f} on validation)" for c in result.constraints_measured
    )
    title = f"{result.model} on {result.data}, {budgets}{constraints}, by {result.search.method}"
    # Lines between columns, or words that are cut, would make it wider than a terminal.
    table = Table(title=title, box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    rows = rows_of(result)
    for i, column in enumerate(columns_of(result)):
        words = " ".join([column, *(row[i] for row in rows)]).split()
        table.add_column(
            column, justify="left" if i == 0 else "right", min_width=max(map(len, words))
        )
    for row in rows:
        table.add_row(*row)
    return table


def _achieved(budget: BudgetRecord) -> str:
    if budget.achieved is None:
        return ""
    if budget.interval is None:
        return f" (got {budget.achieved:.4f})"
    low, high = budget.interval
    return f" (measured {budget.achieved:.3f}, 95 % interval {low:.3f} to {high:.3f})"


def groups_table(result: Result) -> Table:
    """Return what every group keeps, and what was left out."""
    table = Table(title="channels, heads and blocks")
    for column in ("group", "unit", "dense", "kept", "kept fraction"):
        table.add_column(column, justify="left" if column in ("group", "unit") else "right")
    for group in result.groups:
        dense, kept = group.units
        table.add_row(group.name, group.kind, str(dense), str(kept), _outcome(group))
    for item in result.left_out:
        table.add_row(item.name, "-", "-", "-", item.reason, style="dim")
    return table


def _outcome(group: GroupRecord) -> str:
    if group.kind == "block":
        return "stays" if group.kept else "removed"
    return f"{group.kept / group.width:.0%}" if group.kept else "gone with its block"


def training_table(result: Result) -> Table:
    """Return how a training went: mean returns by quarter, and the policy without exploration."""
    table = Table(title=f"training on {result.model} ({result.data})")
    table.add_column("what")
    table.add_column("return relative to the heuristic", justify="right")
    if result.training is None:
        return table
    returns = result.training.returns
    quarter = max(1, len(returns) // 4)
    if returns:
        table.add_row("first quarter, mean", f"{sum(returns[:quarter]) / quarter:+.4f}")
        table.add_row("last quarter, mean", f"{sum(returns[-quarter:]) / quarter:+.4f}")
    for name, (before, after) in result.training.deterministic.items():
        table.add_row(f"{name}: policy before training", f"{before:+.4f}")
        table.add_row(f"{name}: policy after training", f"{after:+.4f}")
    return table


def warnings_of(result: Result) -> list[str]:
    """Return what a user must not miss, such as a pruned network that is not faster."""
    warnings = []
    last = result.finetuned or result.pruned
    if last is not None and result.dense is not None:
        for batch, timing in last.latency_ms.items():
            kept = timing.median / result.dense.latency_ms[batch].median
            if kept >= 1.0:
                warnings.append(
                    f"NOT FASTER at {batch.replace('_', ' ')}: {kept:.2f}x the dense latency"
                )
    for budget in result.budgets:
        if budget.achieved is not None and budget.achieved > budget.kept:
            warnings.append(
                f"BUDGET MISSED: {budget.quantity} is {budget.achieved:.3f} of the dense one's, "
                f"not {budget.kept:g}; ask for less, or time on a quieter machine"
            )
    for constraint in result.constraints_measured:
        if not constraint.met:
            warnings.append(
                f"CONSTRAINT MISSED: {constraint.constraint} came to {constraint.reached:.4f} when "
                "the measured latency was met; ask for less, or allow more latency"
            )
    self_ratios = {f"at {b.replace('_', ' ')}": r for b, r in result.latency_self_ratio.items()}
    limited = {f"of {b.quantity}={b.kept:g}": b.self_ratio or 1.0 for b in result.budgets}
    for what, measured in (self_ratios | limited).items():
        if abs(measured - 1.0) > TOLERANCE:
            warnings.append(
                f"latencies {what} are noisy: the dense network measured {measured:.2f}x itself; "
                "repeat on a quieter machine"
            )
    if result.search.fallback_reason is not None:
        warnings.append(result.search.fallback_reason)
    if result.training is not None and result.training.interrupted:
        warnings.append("training was interrupted; the agent is the one after its last update")
    return warnings


def _percent(measured: Measured, dense: Measured, batch: str) -> str:
    return f"{measured.latency_ms[batch].median / dense.latency_ms[batch].median:.0%}"
