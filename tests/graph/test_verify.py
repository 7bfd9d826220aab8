"""What a trace cannot see is found out by pruning, and left out by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.graph.trace import trace
from rlprune.surgery.plan import Plan
from tests.oracles import assert_exact, plans

Between = Callable[[Tensor], Tensor]

NUMBER = "an operation outside the layers depends on the number of its channels"


class Net(nn.Module):
    """Three convolutions with an operation of choice between the first two."""

    def __init__(self, between: Between) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.third = nn.Conv2d(16, 8, 3, padding=1)
        self.head = nn.Linear(8, 10)
        self.between = between

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.between(torch.relu(self.first(images)))
        return self.head(self.third(torch.relu(self.second(hidden))).mean((2, 3)))


def shuffled(x: Tensor) -> Tensor:
    return x.view(len(x), 2, 8, 8, 8).transpose(1, 2).reshape(len(x), 16, 8, 8)


def counted(x: Tensor) -> Tensor:
    if x.shape[1] != 16:
        raise ValueError("sixteen channels are needed")
    return x


def build(between: Between) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(between).eval()


def images(n: int) -> Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))


UNSOUND: dict[str, tuple[Between, str]] = {
    "softmax over channels": (lambda x: x.softmax(1), "softmax runs over its channels"),
    "functional group norm": (lambda x: F.group_norm(x, 4), NUMBER),
    "scaled by the number of channels": (lambda x: x * x.shape[1] ** -0.5, NUMBER),
    "checked number of channels": (
        counted,
        "the model does not run without it: sixteen channels are needed",
    ),
    "other code for fewer channels": (lambda x: x if x.shape[1] == 16 else -x, NUMBER),
    "not finite for fewer channels": (
        lambda x: x if x.shape[1] == 16 else x * float("nan"),
        NUMBER,
    ),
}

EXACT: dict[str, tuple[Between, int]] = {
    "tanh": (torch.tanh, 1),
    "flipped channels": (lambda x: x.flip(1), 1),
    "hard-coded view": (lambda x: x.view(len(x), 16, 8, 8), 1),
    "channel shuffle": (shuffled, 2),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_a_group_that_cannot_be_pruned_exactly_is_left_out_with_the_reason(name: str) -> None:
    between, reason = UNSOUND[name]
    graph = trace(build(between), images(2))
    assert graph.names == ("second", "third")
    (left,) = (item for item in graph.left_out if item.name == "first")
    assert left.reason == reason


@pytest.mark.parametrize("name", [*UNSOUND, *EXACT])
def test_all_other_groups_of_such_a_network_are_pruned_exactly(name: str) -> None:
    model = build({**UNSOUND, **EXACT}[name][0])
    graph = trace(model, images(2))
    plan = Plan.uniform(graph, kept=0.5)
    small = plan.apply(model)
    assert sum(p.numel() for p in small.parameters()) == graph.params(plan) < graph.params()
    for one in (plan, *plans(graph, random=2)):
        assert_exact(model, one, images(3))


@pytest.mark.parametrize("name", EXACT)
def test_a_sound_network_keeps_all_its_groups(name: str) -> None:
    between, step = EXACT[name]
    graph = trace(build(between), images(2))
    assert graph.names == ("first", "second", "third")
    assert graph.group("first").step == step


def test_an_output_whose_shape_depends_on_a_group_keeps_it() -> None:
    class Shaped(Net):
        def forward(self, images: Tensor) -> Tensor:
            hidden = self.first(images)
            return super().forward(images).new_zeros(len(images), hidden.shape[1])

    (left, *_) = trace(Shaped(torch.tanh).eval(), images(2)).left_out
    assert left.name == "first"
    assert left.reason == "the shape of the model's output depends on it"


def test_channels_that_two_groups_only_change_together_are_left_out_together() -> None:
    class Paired(Net):
        """Wrong only if both groups lose channels: neither can be blamed alone."""

        def forward(self, images: Tensor) -> Tensor:
            first = torch.relu(self.first(images))
            second = torch.relu(self.second(first))
            both = first.shape[1] < 16 and second.shape[1] < 16
            return self.head(self.third(second).mean((2, 3))) * (2 if both else 1)

    graph = trace(Paired(torch.tanh).eval(), images(2))
    reasons = {item.name: item.reason for item in graph.left_out}
    assert "first" in reasons or "second" in reasons
    for plan in plans(graph):
        assert sum(len(plan.kept[n]) < 16 for n in ("first", "second") if n in plan.kept) < 2
