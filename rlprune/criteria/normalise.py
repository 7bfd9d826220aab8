"""What makes the scores of different groups comparable; never hidden inside a criterion."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rlprune.criteria.base import ChannelScores

_TINY = 1e-30


def _by_mean(scores: Tensor) -> Tensor:
    """Divide by the group's mean; torch-pruning's default."""
    return scores / scores.mean().clamp_min(_TINY)


def _by_rank(scores: Tensor) -> Tensor:
    """Replace scores by their rank in the group, in (0, 1]; equal scores share a rank."""
    return (scores.unsqueeze(0) <= scores.unsqueeze(1)).double().mean(1)


def _by_what_remains(scores: Tensor) -> Tensor:
    """Divide each squared score by the sum of those not smaller (LAMP, Lee et al., ICLR 2021)."""
    squares = scores**2
    not_smaller = squares.unsqueeze(0) >= squares.unsqueeze(1)
    remaining = (not_smaller * squares.unsqueeze(0)).sum(1)
    return squares / remaining.clamp_min(_TINY)


def _each(of_group: Callable[[Tensor], Tensor]) -> Callable[[ChannelScores], ChannelScores]:
    return lambda scores: {name: of_group(values) for name, values in scores.items()}


NORMALISERS: dict[str, Callable[[ChannelScores], ChannelScores]] = {
    "none": _each(lambda scores: scores),
    "mean": _each(_by_mean),
    "rank": _each(_by_rank),
    "lamp": _each(_by_what_remains),
}
