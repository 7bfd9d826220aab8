"""What every benchmark shares: its command line, its result file and the table made from it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from pydantic import Field

from rlprune.config import Settings
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
    case: str, metric: str, values: list[float], target: str = "", ok: bool | None = None
) -> Row:
    """Summarise repeated measurements by their mean, least and largest value."""
    array = np.asarray(values, dtype=np.float64)
    low, high = float(array.min()), float(array.max())
    return Row(case, metric, float(array.mean()), low, high, len(values), target, ok)


def publish(name: str, settings: BenchSettings, rows: list[Row], notes: str) -> None:
    """Write `benchmarks/NAME.json` and `benchmarks/NAME.md`, or where `--json` says."""
    command = shlex.join(["python", f"scripts/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    document: dict[str, Any] = {
        "command": command,
        "commit": COMMIT,
        "device": describe_device(torch.device("cpu")).model_dump(),
        "rows": [asdict(row) for row in rows],
    }
    text = json.dumps(document, indent=2)
    if settings.json_file == "-":
        print(text)
        return
    path = BENCHMARKS / f"{name}.json" if settings.json_file is None else Path(settings.json_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    path.with_suffix(".md").write_text(_markdown(name, document, rows, notes))
    print(f"wrote {path}")


def _markdown(name: str, document: dict[str, Any], rows: list[Row], notes: str) -> str:
    device = document["device"]
    lines = [
        f"# {name}",
        "",
        notes,
        "",
        f"- command: `{document['command']}`",
        f"- commit: {document['commit']}",
        f"- device: {device['name']} ({device['type']}), {device['threads']} threads, "
        f"torch {device['torch']}",
        "",
        "| case | metric | mean | low | high | n | target | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        met = {True: "yes", False: "NO", None: ""}[row.ok]
        lines.append(
            f"| {row.case} | {row.metric} | {row.value:.4g} | {row.low:.4g} | {row.high:.4g} "
            f"| {row.n} | {row.target} | {met} |"
        )
    return "\n".join(lines) + "\n"
