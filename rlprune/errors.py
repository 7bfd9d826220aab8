"""Errors that a user can cause; every message says what was wrong and what to type instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import ValidationError

_LISTED = 20
"""Names that an error lists; a large network has hundreds of layers."""


class RLPruneError(Exception):
    """Base of every error that a user can cause; the command line prints it and exits with 2."""


class UnknownNameError(RLPruneError):
    """A name that is not among the allowed ones."""

    def __init__(self, kind: str, name: str, allowed: Iterable[str]) -> None:
        choices = list(allowed)
        close = difflib.get_close_matches(name, choices, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        listed = ", ".join(choices[:_LISTED])
        more = f" and {len(choices) - _LISTED} more" if len(choices) > _LISTED else ""
        super().__init__(f"unknown {kind} {name!r}{hint} (allowed: {listed}{more})")


class DataError(RLPruneError):
    """Data that is missing, unreadable or of the wrong shape."""


class ModelError(RLPruneError):
    """A model that cannot be built, loaded or run."""


class TraceError(RLPruneError):
    """A model whose dependency groups cannot be found."""


class PlanError(RLPruneError):
    """A plan that does not fit its graph, or a damaged plan file."""


class BudgetError(RLPruneError):
    """A budget that is malformed or cannot be reached."""


class CriterionError(RLPruneError):
    """A criterion that cannot be computed on a network or its data, or gives no ranking."""


class MetricError(RLPruneError):
    """A metric that does not fit what a network does."""


class ConstraintError(RLPruneError):
    """A constraint that is malformed, or that no network here can meet."""


class LatencyError(RLPruneError):
    """Latency that cannot be measured, or a table that was measured for something else."""


class DynamicsError(RLPruneError):
    """A training that cannot be watched, or a dynamics record that is damaged or of another one."""


class AgentError(RLPruneError):
    """An agent folder that is missing, damaged or cannot be used."""


class UncoveredError(AgentError):
    """A request that an agent was not made for: other observations, or a budget beyond its own."""


class SplitError(RLPruneError):
    """A split used where it must not be, such as test data during a search."""


class RunError(RLPruneError):
    """A run folder that cannot be written or read."""


class CacheError(RLPruneError):
    """A place for stored results that cannot be one."""


class ExportError(RLPruneError):
    """A model that cannot be exported, or whose exported file computes something else."""


FOREIGN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a user's forward pass may raise, and what following or pruning it may."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type when it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def first_fault(error: ValueError) -> str:
    """Say where a document's first fault is, and what it is; of another error, its first line."""
    if not isinstance(error, ValidationError):
        return first_line(error)
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
