"""Hold networks of a pool out by family, task and depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlprune.errors import RunError, UnknownNameError
from rlprune.pool.folder import Entry
from rlprune.pool.specs import DEPTHS


@dataclass(frozen=True)
class Names:
    """Families, tasks and depths; depths as in `rlprune.pool.specs.DEPTHS`."""

    families: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    depths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Division:
    """Disjoint parts of a pool; together they are all that learned.

    Attributes:
        training: networks of which nothing is held out.
        held_out: networks whose family, task or depth is.
    """

    training: tuple[Entry, ...]
    held_out: tuple[Entry, ...]


def split(entries: Sequence[Entry], held_out: Names) -> Division:
    """Keep apart every network whose family, task or depth is held out.

    Args:
        entries: of a pool.
        held_out: names; a network that has any of them is held out.

    Raises:
        UnknownNameError: for a name that no network of the pool has.
        RunError: if nothing is left to train on.
    """
    _check(entries, held_out)
    parts: dict[bool, list[Entry]] = {False: [], True: []}
    for entry in _learned(entries):
        parts[any(own in names for names, own in _paired(held_out, entry))].append(entry)
    if not parts[False]:
        raise RunError(
            f"{len(entries)} networks are in the pool, {len(parts[True])} that learned are held "
            "out, and none is left to train on; hold out fewer names, or make a larger pool"
        )
    return Division(tuple(parts[False]), tuple(parts[True]))


def _learned(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.record.has_learned]


def _paired(names: Names, entry: Entry) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Return names, each with what the network has of their kind."""
    job = entry.record.job
    return (
        (names.families, job.spec.family),
        (names.data, job.data),
        (names.depths, job.spec.depth_name),
    )


def _check(entries: Sequence[Entry], names: Names) -> None:
    jobs = [entry.record.job for entry in entries]
    kinds = (
        ("family", names.families, {job.spec.family: None for job in jobs}),
        ("data", names.data, {job.data: None for job in jobs}),
        ("depth", names.depths, dict.fromkeys(DEPTHS)),
    )
    for kind, asked, known in kinds:
        for name in asked:
            if name not in known:
                raise UnknownNameError(kind, name, known)
