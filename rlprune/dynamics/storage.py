"""Dynamics records as files: JSON, written whole or not at all, checked when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from rlprune.dynamics.record import Dynamics
from rlprune.errors import DynamicsError, first_fault
from rlprune.files import write_text

SUFFIX = ".dynamics.json"


def beside(weights: Path) -> Path:
    """Return where the record of a weights file is: `NAME.dynamics.json` in the same folder."""
    return weights.with_name(weights.stem + SUFFIX)


def write_dynamics(path: Path, dynamics: Dynamics) -> None:
    """Write a record."""
    write_text(path, dynamics.model_dump_json(indent=2) + "\n")


def read_dynamics(path: Path) -> Dynamics:
    """Read a record.

    Raises:
        DynamicsError: if the file cannot be read, or is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DynamicsError(f"cannot read {path}: {error}; {_CURE}") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> Dynamics:
    """Return the record that a text holds.

    Raises:
        DynamicsError: if it holds none.
    """
    try:
        return Dynamics.model_validate_json(text)
    except ValidationError as error:
        raise DynamicsError(f"{source} is damaged ({first_fault(error)}); {_CURE}") from error


def check_fits(dynamics: Dynamics, shapes: Mapping[str, Sequence[int]], source: str) -> None:
    """Refuse the record of another network.

    Args:
        dynamics: the record.
        shapes: `{parameter: shape}` of the network.
        source: where the record is from.

    Raises:
        DynamicsError: naming the first weight that is another one.
    """
    for layer in dynamics.layers:
        shape = shapes.get(layer.weight)
        if shape is None or tuple(shape) != layer.shape:
            has = "does not have it" if shape is None else f"has it as {tuple(shape)}"
            raise DynamicsError(
                f"{source} is of another network: weight {layer.weight!r} is {layer.shape} there "
                f"and the model {has}; {_CURE}"
            )


_CURE = "copy it again together with the weights, or delete it"
