"""`--config FILE.toml`: flags from a file, which flags on the command line override."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlprune.errors import RLPruneError

_FLAG = "--config"


def expand_config(argv: Sequence[str]) -> list[str]:
    """Replace `COMMAND ... --config FILE.toml` by the flags that the file holds.

    They are put right after the command, so that flags typed by hand come later and win. Keys are
    flag names with underscores or dashes; a table `[ppo]` holds the `--ppo.*` flags.

    Raises:
        RLPruneError: if the file is missing or is not TOML.
    """
    words = list(argv)
    if _FLAG not in words:
        return words
    at = words.index(_FLAG)
    if at + 1 >= len(words):
        raise RLPruneError(f"{_FLAG} needs a file; type {_FLAG} FILE.toml")
    path = Path(words[at + 1])
    del words[at : at + 2]
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise RLPruneError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RLPruneError(f"{path} is not valid TOML: {error}") from error
    return [*words[:1], *_flags(table), *words[1:]]


def _flags(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        name = f"{prefix}{key.replace('_', '-')}"
        if isinstance(value, dict):
            yield from _flags(value, f"{name}.")
        elif isinstance(value, bool):
            head, _, last = name.rpartition(".")
            yield f"--{head}.{last}" if head else f"--{'' if value else 'no-'}{last}"
        elif isinstance(value, list):
            yield from (f"--{name}", *map(str, value))
        else:
            yield from (f"--{name}", str(value))
