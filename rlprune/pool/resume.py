"""What of a pool is there already."""

from __future__ import annotations

import warnings
from pathlib import Path

from rlprune.errors import RunError
from rlprune.pool.folder import Entry, entry_folders, read_entry
from rlprune.pool.jobs import Job


class PoolWarning(UserWarning):
    """A network of a pool cannot be used; it is made again."""


def finished(pool: Path, jobs: list[Job]) -> dict[int, Entry]:
    """Return the finished networks by number; a `PoolWarning` names those that are damaged.

    Args:
        pool: its folder; may not exist yet.
        jobs: what it is to hold, by number; networks beyond are not looked at.

    Raises:
        RunError: if a network was made with other settings.
    """
    found = {}
    for folder in entry_folders(pool):
        number = int(folder.name.partition("-")[0])
        if number >= len(jobs):
            continue
        if folder.name != jobs[number].name:
            raise _other_settings(folder, f"network {number} is to be {jobs[number].name}")
        try:
            entry = read_entry(folder)
            if entry.record.has_learned:
                entry.content()
        except RunError as error:
            warnings.warn(str(error), PoolWarning, stacklevel=2)
            continue
        if entry.record.job != jobs[number]:
            raise _other_settings(folder, _difference(entry.record.job, jobs[number]))
        found[number] = entry
    return found


def _difference(before: Job, now: Job) -> str:
    """Name the first field that differs, of the training where it is that."""
    pairs = [*zip(before.training, now.training, strict=True), *zip(before, now, strict=True)]
    for (name, old), (_, new) in pairs:
        if old != new:
            return f"{name} was {old}, and is to be {new}"
    raise AssertionError("jobs are equal")


def _other_settings(folder: Path, difference: str) -> RunError:
    return RunError(
        f"{folder} was made with other settings ({difference}); type the same to go on, or choose "
        "another --out"
    )
