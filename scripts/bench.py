"""What every benchmark shares: its command line, its result file and the table made from it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import torch
import tyro
from pydantic import Field
from torch.utils.data import TensorDataset

from rlprune.compare.statistics import Estimate
from rlprune.config import Settings
from rlprune.data.splits import DataSplits, Role, Split
from rlprune.report.measure import describe_device

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whichever git is installed
            capture_output=True,
            text=True,
            check=True,
            cwd=BENCHMARKS.parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


COMMIT = _commit()  # when the run starts: files may change while it lasts


class BenchSettings(Settings):
    """Flags of every benchmark."""

    json_file: Annotated[str | None, tyro.conf.arg(name="json")] = None
    """Where to write the result; - is standard output, the default benchmarks/NAME.json."""
    quick: bool = False
    """The same measurement on fewer seeds, networks or repeats, under a minute."""
    threads: int = Field(default=2, ge=1)
    """CPU threads."""


@dataclass(frozen=True)
class Row:
    """One measured number: its value, its spread over `n` and whether it meets the target."""

    case: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    target: str
    ok: bool | None


def spread(
    case: str,
    metric: str,
    values: Sequence[float],
    target: str = "",
    ok: bool | None = None,
    centre: Callable[[Sequence[float]], float] = fmean,
) -> Row:
    """Summarise repeated measurements by their mean or another `centre`, least and largest."""
    value, low, high = float(centre(values)), float(min(values)), float(max(values))
    return Row(case, metric, value, low, high, len(values), target, ok)


def interval(case: str, metric: str, value: Estimate) -> Row:
    """Return a mean with its 95 % interval; of a single value, that value alone."""
    low = value.mean if value.low is None else value.low
    high = value.mean if value.high is None else value.high
    return Row(case, metric, value.mean, low, high, value.n, "", None)


def noise(count: int, size: int, classes: int) -> DataSplits:
    """Return random square images in three colours, of random classes, as all four splits."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, size, size, generator=generator)
    targets = torch.randint(classes, (count,), generator=generator)

    def split(role: Role) -> Split:
        return Split(role, TensorDataset(images, targets))  # type: ignore[arg-type]

    return DataSplits(
        "noise",
        train=split("train"),
        search=split("search"),
        validation=split("validation"),
        test=split("test"),
        num_classes=classes,
        input_shape=(3, size, size),
    )


def publish(name: str, settings: BenchSettings, rows: list[Row], notes: str) -> None:
    """Write `benchmarks/NAME.json` and `benchmarks/NAME.md`, or where `--json` says."""
    document = result(rows)
    text = json.dumps(document, indent=2)
    if settings.json_file == "-":
        print(text)
        return
    path = BENCHMARKS / f"{name}.json" if settings.json_file is None else Path(settings.json_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    path.with_suffix(".md").write_text(_markdown(name, document, rows, notes))
    print(f"wrote {path}")


def result(rows: Sequence[Row]) -> dict[str, Any]:
    """Return rows with what it takes to measure them again."""
    return {
        "command": shlex.join(["python", f"scripts/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": COMMIT,
        "device": describe_device(torch.device("cpu")).model_dump(),
        "rows": [asdict(row) for row in rows],
    }


def _markdown(name: str, document: dict[str, Any], rows: list[Row], notes: str) -> str:
    lines = [
        *heading(name, document, notes, f"{document['device']['threads']} threads"),
        "| case | metric | mean | low | high | n | target | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        met = {True: "yes", False: "NO", None: ""}[row.ok]
        lines.append(f"| {cells(row)} | {row.target} | {met} |")
    return "\n".join(lines) + "\n"


def heading(name: str, document: dict[str, Any], notes: str, threads: str) -> list[str]:
    """Return the lines above a table: what was measured, how and where."""
    device = document["device"]
    return [
        f"# {name}",
        "",
        notes,
        "",
        f"- command: `{document['command']}`",
        f"- commit: {document['commit']}",
        f"- device: {device['name']} ({device['type']}), {threads}, torch {device['torch']}",
        "",
    ]


def cells(row: Row) -> str:
    """Return the cells of a row that every table has."""
    values = f"{row.value:.4g} | {row.low:.4g} | {row.high:.4g}"
    return f"{row.case} | {row.metric} | {values} | {row.n}"
