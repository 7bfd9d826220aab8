"""Which of the architectures of torchvision and timm are pruned exactly: every one, in turn.

A network with random weights is traced once and every group is halved (`Plan.uniform(graph, 0.5)`).
Then the network is held to what the graph promised, check by check; `coverage_checks.py` says what
each one is. Every network runs in a process of its own, on one thread, and is killed if a step
takes too long.

    python scripts/coverage.py                          # everything that is not in the file yet
    python scripts/coverage.py --only 'timm:vit_*' --fresh --checks params masked
"""

from __future__ import annotations

import fnmatch
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro
from bench import BENCHMARKS
from coverage_case import run_case
from coverage_checks import RUN, run_reload
from coverage_job import Job
from coverage_models import QUICK, every_model
from coverage_report import CHECKS, Check, Measured, read, write
from pydantic import Field

from rlprune.config import Settings

POLL_SECONDS = 0.1
_RESULT = tyro.conf.arg(name="json", help_behavior_hint="(default: benchmarks/coverage.json)")


class CoverageSettings(Settings):
    """Flags of the coverage benchmark."""

    json_file: Annotated[Path, _RESULT] = BENCHMARKS / "coverage.json"
    """The result; networks that are in it already are kept."""
    markdown: Path | None = None
    """The same as tables; beside the result by default."""
    quick: bool = False
    """A handful of networks, under a minute."""
    only: tuple[str, ...] = ()
    """Patterns of networks, such as 'timm:vit_*'; all by default."""
    checks: tuple[Check, ...] = CHECKS
    """What to check."""
    jobs: int = Field(default=2, ge=1)
    """Networks at a time, one thread each."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that tracing and each check may take; four times that for the largest networks."""
    export_timeout: float = Field(default=240.0, gt=0)
    """Seconds that an export may take."""
    fresh: bool = False
    """Measure networks that are in the result already."""
    failed: bool = False
    """Only networks that are in the result and are not supported."""


def chosen(settings: CoverageSettings, rows: Mapping[str, Measured]) -> list[str]:
    """Return the networks that are to be measured now."""
    names = list(QUICK) if settings.quick else every_model()
    patterns = settings.only or ("*",)
    names = [n for n in names if any(fnmatch.fnmatch(n, pattern) for pattern in patterns)]
    if settings.failed:
        return [n for n in names if n in rows and rows[n].problems]
    if settings.fresh:
        return names
    return [n for n in names if n not in rows or not rows[n].has(settings.checks)]


def measured(names: Sequence[str], settings: CoverageSettings) -> Iterator[Measured]:
    """Measure networks, a few at a time, the largest alone and last."""
    waiting, large = list(names), list[str]()
    running: list[Job] = []

    with tempfile.TemporaryDirectory() as scratch:

        def start(spec: str, *, alone: bool) -> None:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            limits = settings.timeout, settings.export_timeout
            running.append(Job(spec, alone, settings.checks, *limits, folder))

        try:
            while waiting or large or running:
                if waiting and len(running) < settings.jobs:
                    start(waiting.pop(0), alone=False)
                elif large and not running:
                    start(large.pop(0), alone=True)
                else:
                    time.sleep(POLL_SECONDS)
                for job in [job for job in running if job.poll()]:
                    running.remove(job)
                    if job.deferred:
                        large.append(job.spec)
                    else:
                        yield job.row()
        finally:
            for job in running:
                job.kill()


def main(settings: CoverageSettings) -> None:
    """Measure what is missing, and write the result after every network."""
    rows = read(settings.json_file)
    markdown = settings.markdown or settings.json_file.with_suffix(".md")
    order = {name: i for i, name in enumerate(every_model())}
    names = chosen(settings, rows)
    for done, row in enumerate(measured(names, settings), start=1):
        rows[row.model] = row
        models = sorted(rows.values(), key=lambda r: order.get(r.model, len(order)))
        write(settings.json_file, markdown, models)
        text = "; ".join(row.problems) or "ok"
        print(f"{done}/{len(names)} {row.model} {row.seconds['total']} s: {text}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["case"]:
        _, _, spec, told, checks, mode = sys.argv
        wanted = {check: RUN[check] for check in checks.split(",")}
        run_case(spec, Path(told), wanted, alone=mode == "alone")
    elif sys.argv[1:2] == ["reload"]:
        _, _, spec, size, folder = sys.argv
        run_reload(spec, int(size), Path(folder))
    else:
        main(tyro.cli(CoverageSettings))
