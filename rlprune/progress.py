"""Progress bars with an estimate of the time left; silent without a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

console = Console(stderr=True)


def silence() -> None:
    """Show nothing from now on: worker processes would write over their parent's lines."""
    console.quiet = True


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a rich progress display on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=console.quiet or not console.is_terminal
    ) as progress:
        yield progress


def track(items: Sequence[T], description: str, chunk: int = 1) -> Iterator[Sequence[T]]:
    """Iterate over chunks of so many items with a progress bar."""
    with progress_bar() as progress:
        task = progress.add_task(description, total=len(items))
        for start in range(0, len(items), chunk):
            some = items[start : start + chunk]
            yield some
            progress.advance(task, len(some))
