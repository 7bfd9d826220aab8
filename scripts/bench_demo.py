"""A new user's first minutes: fresh clone, `make demo`, `make test`.

Clones this repository's HEAD into a temporary folder, runs both commands there as they stand in the
README, and checks what the demo wrote: both pruned networks meet the budget, and both are faster
than their dense network at batch 64. The package cache is as warm as it is when this starts.

    python scripts/bench_demo.py
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import tyro
from bench import BENCHMARKS, BenchSettings, Row, publish, spread

from rlprune.cli import DEMO_APPLIED, DEMO_TRAINED
from rlprune.report.result import Result, read_result

BATCH = "batch_64"
INSTALL_AND_DEMO_S, DEMO_S, TEST_S = 480.0, 240.0, 480.0


def timed(command: list[str], folder: Path) -> float:
    """Run a command and return its seconds; fail loudly when it fails."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True)
    return time.perf_counter() - started


def below(case: str, metric: str, value: float, limit: float) -> Row:
    """One number that must not exceed a limit."""
    return Row(case, metric, value, value, value, 1, f"at most {limit:g}", value <= limit)


def network_rows(result: Result) -> list[Row]:
    """Budget and latency of one pruned network."""
    rows = []
    for budget in result.budgets:
        achieved = budget.achieved if budget.achieved is not None else float("inf")
        rows.append(below(result.model, f"achieved {budget.quantity}", achieved, budget.kept))
    for stage, measured in (("pruned", result.pruned), ("finetuned", result.finetuned)):
        if measured is None or result.dense is None:
            continue
        kept = measured.latency_ms[BATCH].median / result.dense.latency_ms[BATCH].median
        rows.append(below(result.model, f"{stage} / dense latency, batch 64", kept, 1.0))
        rows.append(spread(result.model, f"{stage} accuracy (test)", [measured.metric.value]))
    return rows


def main(settings: BenchSettings) -> None:
    """Clone, run, check; --quick leaves out the tests and cannot be under a minute."""
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "rlprune"
        timed(["git", "clone", "-q", str(BENCHMARKS.parent), str(clone)], Path(temporary))
        both = timed(["make", "demo"], clone)
        again = timed(["make", "demo"], clone)
        rows = [
            below("fresh clone", "make demo, installation included, s", both, INSTALL_AND_DEMO_S),
            below("installed", "make demo, s", again, DEMO_S),
        ]
        for run in ("demo", "demo-2"):
            for model in (DEMO_TRAINED, DEMO_APPLIED):
                rows += network_rows(read_result(clone / "runs" / run / model))
        if not settings.quick:
            rows.append(below("installed", "make test, s", timed(["make", "test"], clone), TEST_S))
    publish("demo", settings, rows, "Wall-clock seconds on a warm package cache; two demos.")


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
