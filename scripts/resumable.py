"""How a script ends that goes on where it was stopped, when the same command is typed again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tyro

from rlprune.errors import RLPruneError

T = TypeVar("T")


def run(main: Callable[[T], None], options: type[T], description: str | None) -> None:
    """Parse the command line and work; an error or an interruption is said in one line.

    Args:
        main: does the work.
        options: what it takes.
        description: for `--help`.
    """
    try:
        main(tyro.cli(options, description=description))
    except RLPruneError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on") from None
