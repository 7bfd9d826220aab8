"""What makes the scores of different groups comparable; never hidden inside a criterion."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlprune.criteria.base import ChannelScores

_TINY = 1e-30


def by_mean(scores: Tensor) -> Tensor:
    """Divide by the group's mean; torch-pruning's default."""
    return scores / scores.mean().clamp_min(_TINY)


def by_rank(scores: Tensor) -> Tensor:
    """Replace scores by the share of scores that are not larger, in (0, 1].

    Equal scores share a rank, and the order of all others stays.
    """
    scores = scores.contiguous()
    ordered = scores.flatten().sort().values
    return torch.searchsorted(ordered, scores, right=True).double() / len(ordered)


def by_what_remains(scores: Tensor) -> Tensor:
    """Divide each squared score by the sum of those not smaller (LAMP, Lee et al., ICLR 2021).

    Equal scores share that sum, so that the result does not depend on their order.

    Args:
        scores: of a group or of a layer, of any shape.
    """
    squares = (scores**2).contiguous()
    ordered = squares.flatten().sort().values
    remaining = ordered.flip(0).cumsum(0).flip(0)
    # what is not a number comes after all others, and makes all scores that
    place = torch.searchsorted(ordered, squares).clamp_max(len(ordered) - 1)
    return squares / remaining[place].clamp_min(_TINY)


def _each(of_group: Callable[[Tensor], Tensor]) -> Callable[[ChannelScores], ChannelScores]:
    return lambda scores: {name: of_group(values) for name, values in scores.items()}


NORMALISERS: dict[str, Callable[[ChannelScores], ChannelScores]] = {
    "none": _each(lambda scores: scores),
    "mean": _each(by_mean),
    "rank": _each(by_rank),
    "lamp": _each(by_what_remains),
}
