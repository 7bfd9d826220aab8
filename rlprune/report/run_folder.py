"""The folder that a run leaves behind."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rlprune.config import Settings
from rlprune.errors import RunError

_LIBRARIES = (
    "torch",
    "gymnasium",
    "stable-baselines3",
    "numpy",
    "safetensors",
    "pydantic",
)


def check_free(out: Path) -> None:
    """Raise `RunError` unless a run can be written to `out`: finished work is never overwritten."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} already holds something; choose another --out or move it away")
    parent = next(p for p in out.absolute().parents if p.exists())
    if not parent.is_dir():
        raise RunError(f"{parent} is a file; choose another --out")


def next_free(out: Path) -> Path:
    """Return `out`, or `out-2`, `out-3` ... when it is taken."""
    candidate, number = out, 1
    while candidate.exists() and (not candidate.is_dir() or any(candidate.iterdir())):
        number += 1
        candidate = out.with_name(f"{out.name}-{number}")
    return candidate


def write_header(run: Path, settings: Settings, argv: Sequence[str] | None = None) -> None:
    """Write `command.txt`, `config.json` and `versions.json`: exactly what is run, on what."""
    words = list(sys.argv[1:] if argv is None else argv)
    run.mkdir(parents=True, exist_ok=True)
    (run / "command.txt").write_text(f"{shlex.join(['rlprune', *words])}\n")
    (run / "config.json").write_text(settings.model_dump_json(indent=2))
    versions = {"python": sys.version.split()[0], "rlprune": version("rlprune")}
    versions |= {name: version(name) for name in _LIBRARIES}
    (run / "versions.json").write_text(json.dumps(versions, indent=2))
