"""The shipped agent answers for networks unlike those that it learned from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, repeat

import pytest
import torch
from torch import Tensor, nn

from rlprune.agents.chosen import DEFAULT, agent_for
from rlprune.data import DataSplits
from rlprune.problem import Problem
from tests.surgery.attention_nets import WIDTH, Encoder, Fused


class Rows(Encoder):
    """Attends to the rows of an image."""

    def __init__(self) -> None:
        super().__init__(Fused())
        self.embed, self.head = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1, 2))


def one_group() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def without_batchnorm() -> nn.Module:
    first, second = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3)
    head = nn.Linear(16 * 16, 10)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), head)


def deep_and_dead() -> nn.Module:
    """Forty layers without normalisation: the input hardly matters to the output."""
    layers = [(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in repeat(None, 40)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    return nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), *chain(*layers), *head)


@pytest.fixture(scope="module", params=[one_group, without_batchnorm, deep_and_dead, Rows])
def problem(request: pytest.FixtureRequest, digits: DataSplits) -> Problem:
    torch.manual_seed(0)
    build: Callable[[], nn.Module] = request.param
    return Problem.build(build(), digits, "macs=0.5")


def test_it_proposes_a_plan_within_the_budget(problem: Problem) -> None:
    for evaluations in (0, 3):  # of one profile
        proposal = agent_for(DEFAULT).propose(problem, evaluations)
        assert problem.budget.usage(problem.costs, proposal.plan.widths) <= 1
        assert problem.evaluate(proposal.plan).score <= problem.reference.score
        assert len(proposal.history) <= evaluations
