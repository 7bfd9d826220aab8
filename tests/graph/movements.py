"""Random chains of operations that move channels without computing anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

Step = tuple[Any, ...]

SIZES = (4, 6, 8, 12)
WIDEST = 24


class Moved(nn.Module):
    """Two linear layers with a chain of movements of channels between them."""

    def __init__(self, width: int, steps: list[Step]) -> None:
        super().__init__()
        self.steps = steps
        self.first, self.other = nn.Linear(5, width), nn.Linear(5, width)
        with torch.no_grad():
            moved = self.move(torch.zeros(1, width), torch.zeros(1, width)).shape[1]
        self.second = nn.Linear(moved, 7)
        self.last = nn.Linear(7, 3)

    def move(self, x: Tensor, other: Tensor) -> Tensor:
        for name, *args in self.steps:
            x = MOVES[name].run(x, other, *args)
        return x

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.move(torch.tanh(self.first(x)), torch.tanh(self.other(x)))
        return self.last(torch.tanh(self.second(hidden)))


def shuffle(x: Tensor, other: Tensor, parts: int) -> Tensor:
    b, c = x.shape
    return x.view(b, parts, c // parts).transpose(1, 2).reshape(b, c)


def shuffle_by_numbers(x: Tensor, other: Tensor, parts: int, size: int) -> Tensor:
    return x.view(-1, parts, size).transpose(1, 2).reshape(-1, parts * size)


def swap_halves(x: Tensor, other: Tensor) -> Tensor:
    one, two = x.chunk(2, 1)
    return torch.cat([two, one], 1)


def add_halves(x: Tensor, other: Tensor) -> Tensor:
    one, two = x.chunk(2, 1)
    return one + two


def gate_first(x: Tensor, other: Tensor, count: int) -> Tensor:
    return torch.cat([x[:, :count] * 2, x[:, count:]], 1)


@dataclass(frozen=True)
class Move:
    """A movement of channels.

    Attributes:
        run: what a forward does, given both layers' channels and the arguments.
        arguments: that fit a width.
        width: what comes out, given the width and the arguments.
        allowed: whether it can follow, given the width and that of a layer.
    """

    run: Callable[..., Tensor]
    arguments: Callable[[int], st.SearchStrategy[tuple[Any, ...]]] = lambda width: st.just(())
    width: Callable[..., int] = lambda width, first, *args: width
    allowed: Callable[[int, int], bool] = lambda width, first: True


def _parts(width: int) -> list[int]:
    return [p for p in (2, 3, 4) if width % p == 0 and width // p > 1]


def _bounds(width: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.integers(0, width - 2).flatmap(
        lambda start: st.tuples(st.just(start), st.integers(start + 2, width))
    )


def _has_parts(width: int, first: int) -> bool:
    return bool(_parts(width))


def _one_of_parts(width: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(st.sampled_from(_parts(width)))


MOVES = {
    "shuffle": Move(shuffle, _one_of_parts, allowed=_has_parts),
    "shuffle by numbers": Move(
        shuffle_by_numbers,
        lambda width: st.sampled_from([(p, width // p) for p in _parts(width)]),
        allowed=_has_parts,
    ),
    "swap halves": Move(swap_halves, allowed=lambda width, first: width % 2 == 0 and width > 2),
    "add halves": Move(
        add_halves,
        width=lambda width, first: width // 2,
        allowed=lambda width, first: width % 2 == 0 and width > 2,
    ),
    "gate first": Move(gate_first, lambda width: st.tuples(st.integers(1, width - 1))),
    "cut": Move(
        lambda x, other, start, stop: x[:, start:stop],
        _bounds,
        lambda width, first, start, stop: stop - start,
    ),
    "split": Move(
        lambda x, other, at: torch.cat(x.split([at, x.shape[1] - at], 1)[::-1], 1),
        lambda width: st.tuples(st.integers(1, width - 1)),
    ),
    "roll": Move(
        lambda x, other, by: x.roll(by, 1), lambda width: st.tuples(st.integers(-width, width))
    ),
    "flip": Move(lambda x, other: x.flip(1)),
    "every": Move(
        lambda x, other, step: x[:, ::step],
        lambda width: st.just((2,)),
        lambda width, first, step: -(-width // step),
        lambda width, first: width > 3,
    ),
    "pick": Move(
        lambda x, other, index: x[:, index, None] * x,
        lambda width: st.tuples(st.integers(0, width - 1)),
    ),
    "cat": Move(
        lambda x, other: torch.cat([x, other], 1),
        width=lambda width, first: width + first,
        allowed=lambda width, first: width <= WIDEST,
    ),
    "repeat": Move(
        lambda x, other: x.repeat(1, 2),
        width=lambda width, first: 2 * width,
        allowed=lambda width, first: width <= WIDEST,
    ),
    "interleave": Move(
        lambda x, other: x.repeat_interleave(2, 1),
        width=lambda width, first: 2 * width,
        allowed=lambda width, first: width <= WIDEST,
    ),
    "add": Move(lambda x, other: x + other, allowed=lambda width, first: width == first),
    "fold": Move(
        lambda x, other, parts: x.unflatten(1, (parts, -1)).sum(1),
        _one_of_parts,
        lambda width, first, parts: width // parts,
        _has_parts,
    ),
    "unfold": Move(
        lambda x, other: x.unflatten(1, (-1, 2)).flatten(1),
        allowed=lambda width, first: width % 2 == 0 and width > 2,
    ),
    "index": Move(
        lambda x, other, order: x[:, order],
        lambda width: st.tuples(st.permutations(range(width)).map(list)),
    ),
}


@st.composite
def networks(draw: st.DrawFn) -> tuple[int, list[Step]]:
    """Draw a width and a chain that fits it; no step depends on a size at run time."""
    first = width = draw(st.sampled_from(SIZES))
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 3))):
        allowed = [name for name in sorted(MOVES) if MOVES[name].allowed(width, first)]
        name = draw(st.sampled_from(allowed))
        arguments = draw(MOVES[name].arguments(width))
        steps.append((name, *arguments))
        width = MOVES[name].width(width, first, *arguments)
        if width <= 1:
            break
    return first, steps
