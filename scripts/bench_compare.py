"""Every method in one table: `rlprune compare` on digits, timed, and on Fashion-MNIST, in full.

Digits: 5 budgets x 6 methods x 3 seeds of a plain CNN, from nothing, with two workers.
Fashion-MNIST at 14x14: three networks, three budgets of MACs and one of latency, every strategy, 3
seeds; about 4 hours on 2 cores. It is interrupted with Ctrl-C and goes on where it was.

    python scripts/bench_compare.py

The table of Fashion-MNIST is that of `rlprune compare`, whose command is printed with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import tyro
from bench import BENCHMARKS, BenchSettings, Row, heading, interval, result

from rlprune.compare.result import Comparison, read_comparison
from rlprune.report.comparison_tables import Sheet, sheets

MOST_MINUTES = 10.0
DIGITS = (
    "--model plain_cnn --data digits --budget macs=0.6 macs=0.4 macs=0.2 macs=0.1 macs=0.05 "
    "--methods uniform sensitivity knapsack global-taylor random evolution --seeds 3"
)
FASHION = (
    "--preset all --model resnet20 vgg mobilenetv2 --data fashion-mnist --image-size 14 "
    "--budget macs=0.4 macs=0.2 macs=0.08 latency=0.5 --seeds 3"
)
QUICK = "--model mlp --data digits --budget macs=0.3 --methods knapsack --seeds 2"
RUN = BENCHMARKS.parent / "runs" / "compare-fashion-mnist"


class CompareBenchSettings(BenchSettings):
    """Flags of this benchmark."""

    workers: int = 2
    """Processes of one thread each."""


def compare(flags: str, out: Path, settings: CompareBenchSettings) -> tuple[Comparison, float]:
    """Run the command, and return its result and its minutes."""
    started = time.perf_counter()
    words = [*flags.split(), "--workers", str(settings.workers), "--out", str(out)]
    subprocess.run([sys.executable, "-m", "rlprune", "compare", *words], check=True)
    minutes = (time.perf_counter() - started) / 60
    found = read_comparison(out / "result.json")
    if found is None:
        raise ValueError(f"{out} holds no comparison")
    return found, minutes


def rows_of(found: Comparison) -> list[Row]:
    """Return fine-tuned accuracies, and differences from the baseline, with 95 % intervals."""
    rows = []
    for one in found.summary:
        case = f"{one.model}, {one.budget}, {one.method}"
        for stage, value in one.accuracy.items():
            if value is not None:
                rows.append(interval(case, f"test accuracy, {stage}", value))
    for difference in found.differences:
        case = f"{difference.model}, {difference.budget}, {difference.method}"
        metric = f"accuracy - {difference.baseline}'s, {difference.stage}"
        rows.append(interval(case, metric, difference.difference))
    return rows


def markdown(sheet: Sheet) -> list[str]:
    """Return a table of a comparison as Markdown."""
    rows = [sheet.columns, ["---"] * len(sheet.columns), *sheet.rows]
    return [f"## {sheet.title}", "", *("| " + " | ".join(row) + " |" for row in rows), ""]


def main(settings: CompareBenchSettings) -> None:
    """Time the comparison on digits, then make or finish the table of Fashion-MNIST."""
    flags = QUICK if settings.quick else DIGITS
    with tempfile.TemporaryDirectory() as folder:
        cache = f" --cache-dir {folder}/cache"  # nothing is known beforehand
        digits, minutes = compare(flags + cache, Path(folder) / "run", settings)
    cells = len(digits.rows)
    timed = Row(
        f"digits, {cells} cells, {settings.workers} workers",
        "minutes",
        minutes,
        minutes,
        minutes,
        1,
        f"at most {MOST_MINUTES:g}",
        minutes <= MOST_MINUTES,
    )
    found = digits
    if not settings.quick:
        flags, (found, _) = FASHION, compare(FASHION, RUN, settings)
    write(settings, [timed, *rows_of(found)], found, flags)


def write(
    settings: CompareBenchSettings, rows: Sequence[Row], found: Comparison, flags: str
) -> None:
    """Write all rows as JSON, and the tables of the comparison."""
    document = result(rows)
    if settings.json_file == "-":
        print(json.dumps(document, indent=2))
        return
    path = Path(settings.json_file or BENCHMARKS / "compare.json")
    path.write_text(json.dumps(document, indent=2) + "\n")
    notes = (
        f"`rlprune compare {flags}`: {found.seeds} seeds, {found.evaluations} evaluations with "
        f"profiles, {found.finetune_steps} steps of the standard recipe. Means with half a 95 % t "
        f"interval, on the test split. {rows[0].case}: {rows[0].value:.1f} minutes "
        f"({rows[0].target})."
    )
    lines = heading("compare", document, notes, f"{settings.workers} workers of one thread")
    lines += [line for sheet in sheets(found) for line in markdown(sheet)]
    path.with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(CompareBenchSettings))
