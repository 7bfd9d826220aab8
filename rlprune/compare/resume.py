"""Whether a comparison can go on in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlprune.config import CompareSettings
from rlprune.errors import RunError

CONFIG_FILE = "config.json"

_FREE = {"out", "workers", "cache_dir", "data_dir", "preset", "latency_table"}
"""What may change: it decides where and how cells are worked on, or is settled in the folder."""

_GROWING = {"methods", "seeds"}


def continues(settings: CompareSettings) -> bool:
    """Return whether `--out` holds an earlier part of the same comparison; False if it is free.

    More methods and more seeds may be named than before.

    Raises:
        RunError: if it holds anything else, with the settings that differ.
    """
    out = settings.out
    if not (out / CONFIG_FILE).is_file():
        return False
    before, now = _read(out / CONFIG_FILE), json.loads(settings.model_dump_json())
    if before.keys() != now.keys():
        raise RunError(f"{out} holds another command's run; choose another --out")
    for name in sorted(now.keys() - _FREE):
        if name in _GROWING:
            same = _contains(now[name], before[name])
        else:
            same = now[name] == before[name]
        if not same:
            raise RunError(
                f"{out} was begun with {_flag(name, before[name])}, not with "
                f"{_flag(name, now[name])}; type the same to go on, or choose another --out"
            )
    return True


def identity(settings: CompareSettings) -> str:
    """Return what a cell's result depends on, apart from the cell, the network and its data."""
    apart = _FREE | _GROWING | {"model", "budget", "seed", "weights"}
    return settings.model_dump_json(exclude=apart)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged; choose another --out") from error
    if not isinstance(document, dict):
        raise RunError(f"{path} is damaged; choose another --out")
    return document


def _contains(now: Any, before: Any) -> bool:
    if isinstance(now, int) and isinstance(before, int):
        return now >= before
    return isinstance(before, list) and set(before) <= set(now)


def _flag(name: str, value: Any) -> str:
    words = " ".join(map(str, value)) if isinstance(value, list) else json.dumps(value)
    return f"--{name.replace('_', '-')} {words}"
