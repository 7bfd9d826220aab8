"""Weights that all matter, families, and the oracle that the benchmark compares with."""

from __future__ import annotations

import math

import pytest
import torch
from coverage_checks import difference
from coverage_masked import exact_plan, masked
from coverage_models import family_of, images, outputs, unsettle
from torch import Tensor, nn
from torch.nn import functional as F

import rlprune


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens)


def convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)),
    ).eval()


def test_every_parameter_matters_after_unsettling() -> None:
    network = convolutions()
    nn.init.zeros_(network[0].weight)
    nn.init.zeros_(network[3].bias)
    unsettle(network)
    assert all(p.detach().abs().max() > 1e-3 for p in network.parameters())
    assert all(len(p.detach().unique()) > 1 for p in network.parameters())
    assert float(network[1].running_mean.abs().min()) > 0


@pytest.mark.parametrize(
    ("network", "family"),
    [
        (nn.Conv2d(3, 4, 3), "convolutional"),
        (nn.Conv2d(3, 4, 4, stride=4), "transformer"),  # patches, as in mixers
        (Attention(), "transformer"),
    ],
)
def test_networks_of_tokens_are_told_from_convolutional_ones(
    network: nn.Module, family: str
) -> None:
    assert family_of(network, images(2, 8)) == family


def test_the_difference_is_relative_to_each_output() -> None:
    ours = [torch.tensor([1.0, 2.0]), torch.tensor([100.0])]
    theirs = [torch.tensor([1.0, 4.0]), torch.tensor([110.0])]
    assert difference(ours, theirs) == pytest.approx(0.5)
    assert difference(ours, ours) == 0


@pytest.mark.parametrize("theirs", [[], [torch.ones(3)], [torch.tensor([1.0, math.nan])]])
def test_other_shapes_and_nan_differ_infinitely(theirs: list[Tensor]) -> None:
    assert difference([torch.ones(2)], theirs) == math.inf


def test_a_masked_network_computes_what_the_pruned_one_does() -> None:
    network = convolutions()
    unsettle(network)
    graph = rlprune.trace(network, images(2, 16))
    plan = exact_plan(graph)
    assert plan is not None
    dense, batch = outputs(network, images(3, 16)), images(3, 16)
    ignoring = outputs(masked(network, plan), batch)
    assert difference(outputs(plan.apply(network).eval(), batch), ignoring) < 1e-5
    assert difference(ignoring, dense) > 1e-2
