"""Whatever happens to channels between two layers: they are pruned exactly, or left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.graph.trace import trace
from tests.graph.movements import Moved, Step, networks
from tests.oracles import assert_exact, counted_macs, counted_params, plans


def zeroed(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] = 0
    return x


EXACT: dict[str, Callable[[Tensor], Tensor]] = {
    "a slice in front": lambda x: torch.cat([x[:, :3] * 2, x[:, 3:]], 1),
    "a narrowed part": lambda x: torch.cat([x.narrow(1, 0, 3), x.narrow(1, 3, 5) * 2], 1),
    "slices that are exchanged": lambda x: torch.cat([x[:, 5:], x[:, :5]], 1),
    "gated by slices": lambda x: (x[:, :4] * x[:, 4:]).repeat(1, 2),
    "chunks that are exchanged": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "chunks exchanged and back": lambda x: torch.cat(
        torch.cat(x.chunk(2, 1)[::-1], 1).chunk(2, 1)[::-1], 1
    ),
    "shuffled by a view": lambda x: x.view(-1, 2, 4).transpose(1, 2).reshape(-1, 8),
    "shuffled by its shape": lambda x: (
        x.view(x.shape[0], 2, x.shape[1] // 2).transpose(1, 2).reshape(x.shape)
    ),
    "split unequally": lambda x: torch.cat([part * 2 for part in x.split([2, 2, 4], 1)][::-1], 1),
    "two halves added": lambda x: sum(x.chunk(2, 1)).repeat(1, 2),
    "the largest of two": lambda x: x.view(-1, 4, 2).amax(2).repeat(1, 2),
    "flipped": lambda x: x.flip(1),
    "repeated and cut": lambda x: x.repeat(1, 2)[:, 8:],
}
"""Eight channels become eight others; every one of them can go alone or with its partners."""

EXACT_OR_LEFT_OUT: dict[str, Callable[[Tensor], Tensor]] = {
    "rolled": lambda x: x.roll(3, 1),
    "rolled back by one": lambda x: x.roll(-1, 1),
    "one slice": lambda x: x[:, 1:7].repeat(1, 2)[:, :8],
    "every other": lambda x: x[:, ::2].repeat(1, 2),
    "every other from one": lambda x: x[:, 1::2].repeat(1, 2),
    "permuted": lambda x: x[:, [1, 0, 3, 2, 5, 4, 7, 6]],
    "selected": lambda x: x[:, 0, None].sigmoid() * x,
    "selected from the end": lambda x: x[:, -1, None].sigmoid() * x,
    "a slice of one": lambda x: x[:, :1].sigmoid() * x,
    "an index of one": lambda x: x[:, [0]].sigmoid() * x,
    "a split of one": lambda x: x.split([1, 7], 1)[0].sigmoid() * x,
    "an unbound one": lambda x: x.unbind(1)[0][:, None].sigmoid() * x,
    "a narrowed one": lambda x: x.narrow(1, 0, 1).sigmoid() * x,
    "zeroed in place": zeroed,
    "scaled by the number of channels": lambda x: x * x.shape[1] ** -0.5,
    "a module that shuffles": lambda x: F.channel_shuffle(x[..., None], 2).squeeze(2),
    "softmax": lambda x: x.softmax(1),
    "normalised": lambda x: F.normalize(x, dim=1),
    "cumulated": lambda x: x.cumsum(1),
    "sorted": lambda x: x.sort(1).values,
}


class Between(nn.Module):
    """Eight channels, an operation on them, and a layer that reads the result."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.between(torch.tanh(self.first(x)))
        return self.last(torch.tanh(self.second(hidden)))


def seeded(build: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval(), torch.randn(5, 5)


def assert_every_plan_is_exact(model: nn.Module, inputs: Tensor) -> tuple[str, ...]:
    graph = trace(model, inputs[:2])
    for plan in plans(graph):
        assert_exact(model, plan, inputs)
        small = plan.apply(model)
        assert graph.params(plan) == counted_params(small)
        assert graph.macs(plan) == counted_macs(small, inputs)
    return graph.names


@pytest.mark.parametrize("name", EXACT)
def test_moved_channels_are_pruned_exactly(name: str) -> None:
    model, inputs = seeded(lambda: Between(EXACT[name]))
    names = assert_every_plan_is_exact(model, inputs)
    assert "first" in names


@pytest.mark.parametrize("name", EXACT_OR_LEFT_OUT)
def test_what_mixes_channels_is_pruned_exactly_or_not_at_all(name: str) -> None:
    model, inputs = seeded(lambda: Between(EXACT_OR_LEFT_OUT[name]))
    names = assert_every_plan_is_exact(model, inputs)
    assert "second" in names


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(network=networks())
@example(network=(4, [("cat",), ("swap halves",), ("swap halves",)]))
@example(network=(4, [("shuffle", 2), ("gate first", 2)]))
def test_a_random_chain_of_movements_is_pruned_exactly_or_not_at_all(
    network: tuple[int, list[Step]],
) -> None:
    model, inputs = seeded(lambda: Moved(*network))
    assert_every_plan_is_exact(model, inputs)
