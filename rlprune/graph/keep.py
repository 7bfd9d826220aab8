"""Layers that the user wants to keep as they are."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from rlprune.errors import UnknownNameError
from rlprune.graph.record import Recording


def keep_layers(recording: Recording, model: nn.Module, patterns: Sequence[str]) -> None:
    """Protect modules, with everything inside them, from losing inputs, outputs or themselves.

    Args:
        recording: to add to.
        model: that was recorded.
        patterns: module names, or patterns such as `layer1.*`.

    Raises:
        UnknownNameError: if a pattern matches nothing.
    """
    names = [name for name, _ in model.named_modules() if name]
    for pattern in patterns:
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            raise UnknownNameError("layer to keep", pattern, names)
        inside = tuple(f"{name}." for name in matched)
        reason = f"kept by the user ({pattern})"
        for one in recording.dims:
            if one.tensor.startswith(inside):
                recording.ties.kept.insert(0, (one.labels, reason))
        for block in recording.blocks:
            if f"{block}.".startswith(inside) or any(i.startswith(f"{block}.") for i in inside):
                recording.blocks[block] = reason
