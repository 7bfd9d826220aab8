"""Groups that torch-pruning traces but that cannot be pruned exactly are left out by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.graph.trace import trace
from rlprune.surgery.plan import Plan
from tests.oracles import masked

Between = Callable[[Tensor], Tensor]


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


UNSOUND: dict[str, tuple[Between, str]] = {
    "softmax over channels": (lambda x: x.softmax(1), "mixes its channels"),
    "normalised channels": (lambda x: F.normalize(x, dim=1), "mixes its channels"),
    "flipped channels": (lambda x: x.flip(1), "mixes its channels"),
    "functional group norm": (lambda x: F.group_norm(x, 4), "mixes its channels"),
    "hard-coded view": (lambda x: x.view(len(x), 16, 8, 8), "does not run"),
    "channel shuffle": (shuffled, "does not run"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_a_group_that_cannot_be_pruned_exactly_is_left_out_with_the_reason(name: str) -> None:
    torch.manual_seed(0)
    between, reason = UNSOUND[name]
    graph = trace(Net(between), torch.randn(2, 1, 8, 8))
    assert graph.names == ("second", "third")
    (left,) = (item for item in graph.left_out if item.name == "first")
    assert reason in left.reason


@pytest.mark.parametrize("name", UNSOUND)
def test_the_rest_of_such_a_network_is_pruned_exactly(name: str) -> None:
    torch.manual_seed(0)
    model = Net(UNSOUND[name][0]).eval()
    images = torch.randn(3, 1, 8, 8)
    graph = trace(model, images)
    plan = Plan.uniform(graph, kept=0.5)
    small = plan.apply(model)
    assert sum(p.numel() for p in small.parameters()) == graph.params(plan) < graph.params()
    with torch.no_grad():
        torch.testing.assert_close(small(images), masked(model, plan)(images))


def test_a_sound_network_keeps_all_its_groups() -> None:
    torch.manual_seed(0)
    graph = trace(Net(torch.tanh), torch.randn(2, 1, 8, 8))
    assert graph.names == ("first", "second", "third")
