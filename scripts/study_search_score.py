"""Which search score predicts accuracy after fine-tuning: the study that chooses the default.

Plans of three networks at three budgets, at equal MACs, are fine-tuned by the standard recipe and
by 50 steps with batches of 64, with several seeds, and measured on validation data; the test split
is not touched. Every search score is computed for every plan. The first two plans are uniform and
the heuristic; the others are drawn log-normally around one or the other, and blocks go at random.

Every finished piece of work is a line of `cells.jsonl` in the folder; the same command goes on
where it was stopped, in an order that keeps networks and budgets in balance, and ends with the
table of all that is there.

    python scripts/study_search_score.py --threads 1 --workers 2

`--quick` trains nothing and makes the table again from the cells that are committed.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import torch
import tyro
from bench import BENCHMARKS, BenchSettings, Row, publish
from pydantic import Field
from search_score_cells import Line, Worker, jobs_left
from search_score_learned import Powers, add_held_out
from search_score_table import FEWEST_PLANS, LEAST_CEILING, cases_of, rows_of

from rlprune.compare.processes import results, tasks_for
from rlprune.config import EvaluationSettings

COMMITTED = BENCHMARKS / "search_score_cells.jsonl.gz"

NOTES = """\
Mean, least and most over {cases} cases (networks x budgets) of {least} to {most} plans each, ranked
by validation accuracy after fine-tuning (mean over seeds). The ceiling is the Spearman correlation
of two seeds; a ratio to it is left out of the mean where it is below {ceiling}. Regret is accuracy
lost, in points, by fine-tuning only the plan with the best score, or the best three. Learned scores
are fitted to the other two networks each time; `fit` is to all three, its extremes are those fits.
Cost is seconds of CPU over those of one plain pass of the pruned network over the same samples; all
contain the pass that measures the quality."""


class StudySettings(BenchSettings):
    """Flags of the study."""

    threads: int = Field(default=1, ge=1)
    """CPU threads of each worker."""
    workers: int = Field(default=1, ge=1)
    """Processes."""
    plans: int = Field(default=24, ge=3)
    """Plans at each budget of each network."""
    seeds: int = Field(default=2, ge=2)
    """Of fine-tuning."""
    out: Path = Path("runs/search_score")
    """Folder of finished cells; a study goes on with what lies there."""
    minutes: float | None = Field(default=None, gt=0)
    """Begin nothing new after so long, and make the table of what is there."""


def main(settings: StudySettings) -> None:
    """Do what is left, keep all cells and make the table."""
    torch.set_num_threads(settings.threads)
    if not settings.quick:
        settings.out.mkdir(parents=True, exist_ok=True)
        work(settings, settings.out / "cells.jsonl")
        lines = read(settings.out / "cells.jsonl")
        COMMITTED.write_bytes(gzip.compress(_text(lines).encode(), mtime=0))
    cases = cases_of(read(COMMITTED))
    if not cases:
        print(f"no network has {FEWEST_PLANS} finished plans at a budget yet; no table")
        return
    fits = add_held_out(cases)
    rows = rows_of(cases, EvaluationSettings().score) + powers_of(fits)
    plans = [len(case.widths) for case in cases]
    notes = NOTES.format(cases=len(cases), least=min(plans), most=max(plans), ceiling=LEAST_CEILING)
    publish("search_score", settings, rows, notes)


def powers_of(fits: Mapping[str, Sequence[Powers]]) -> list[Row]:
    """Return the fit to all networks, and the extremes of those that leave one out."""
    rows = []
    for name, (whole, *others) in fits.items():
        for feature, power in whole.items():
            held_out = [one[feature] for one in others]
            low, high = min(held_out), max(held_out)
            row = Row(
                f"{name}, fit", f"power of {feature}", power, low, high, len(others), "", None
            )
            rows.append(row)
    return rows


def work(settings: StudySettings, path: Path) -> None:
    """Do the jobs that are left, in order; each result is one write at the end of the file."""
    lines = read(path)
    path.write_text(_text(lines))  # without what an interruption left of a line
    jobs = list(jobs_left(lines, settings.plans, settings.seeds))
    end = time.monotonic() + 60 * (settings.minutes or float("inf"))
    begun = takewhile(lambda _: time.monotonic() < end, jobs)
    with tasks_for(Worker, (settings.plans,), settings.workers) as tasks, path.open("a") as file:
        for count, (_, found) in enumerate(results(tasks, "do", begun), 1):
            file.write(_text(found))
            file.flush()
            print(f"{time.strftime('%H:%M:%S')} {count}/{len(jobs)}", flush=True)


def read(path: Path) -> list[Line]:
    """Return all whole lines of a file of cells; the last one may have been cut off."""
    if not path.exists():
        return []
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return [json.loads(line) for line in text.split("\n")[:-1]]


def _text(lines: Iterable[Line]) -> str:
    return "".join(f"{json.dumps(line)}\n" for line in lines)


if __name__ == "__main__":
    main(tyro.cli(StudySettings))
