"""Where the channels of a group are: in a tensor, and in the atoms that are kept together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rlprune.graph.group_graph import Group, Run


def positions_of(runs: Sequence[Run]) -> dict[int, tuple[Tensor, Tensor]]:
    """Return `{group index: (positions, root channels)}` along a dimension, one pair each."""
    found: dict[int, list[tuple[Tensor, Tensor]]] = {}
    offset = 0
    for group, start, length in runs:
        if group >= 0:
            pair = torch.arange(offset, offset + length), torch.arange(start, start + length)
            found.setdefault(group, []).append(pair)
        offset += length
    return {
        group: (torch.cat([p for p, _ in pairs]), torch.cat([r for _, r in pairs]))
        for group, pairs in found.items()
    }


def over_atoms(group: Group, values: Tensor, counts: Tensor | None = None) -> Tensor:
    """Give every channel the mean of its atom, which is what a plan ranks.

    Args:
        group: whose channels are tied in atoms.
        values: sums per root channel; shape `(width,)`.
        counts: how many terms each sum has, 1 by default; an atom without any gets 0.
    """
    atoms = torch.from_numpy(group.atom_of)
    size = group.width // group.step
    sums = torch.zeros(size, dtype=torch.float64).index_add_(0, atoms, values)
    terms = torch.ones_like(values) if counts is None else counts.double()
    number = torch.zeros(size, dtype=torch.float64).index_add_(0, atoms, terms)
    return (sums / number.clamp_min(1))[atoms]
