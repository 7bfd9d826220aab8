"""How a forward pass is taken apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rlprune.graph.group_graph import Size
from rlprune.graph.trace import trace
from rlprune.latency.segments import PROLOGUE, Segment, segments_of
from rlprune.latency.stamps import ClockStamps, instrument
from tests import nets
from tests.conftest import GetProblem
from tests.latency.fake_clock import ChargedLayers
from tests.surgery.attention_nets import CASES, FEATURES, TOKENS, Encoder


def names(network: nn.Module, inputs: Tensor) -> list[str]:
    return [segment.module for segment in segments_of(trace(network, inputs))]


def test_layers_follow_each_other_as_they_run() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)).eval()
    assert names(network, nets.images()) == [PROLOGUE, "0", "3"]


def test_products_between_the_layers_of_a_module_belong_to_the_layer_before() -> None:
    network = Encoder(CASES["fused"].build()).eval()
    inputs = torch.randn(2, TOKENS, FEATURES)
    graph = trace(network, inputs)
    assert "mixer" in {operation.module for operation in graph.operations}
    segments = {segment.module: segment for segment in segments_of(graph)}
    assert list(segments) == [PROLOGUE, "embed", "mixer.qkv", "mixer.proj", "head"]
    assert len(segments["mixer.qkv"].operations) > 1


def test_products_of_the_network_itself_belong_to_the_layer_before() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.weight = nn.Linear(4, 8), nn.Parameter(torch.randn(8, 3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.first(x)) @ self.weight

    segments = segments_of(trace(Own().eval(), torch.randn(2, 4)))
    assert [segment.module for segment in segments] == [PROLOGUE, "first"]
    assert len(segments[1].operations) == 2


def test_a_size_counts_as_it_is_and_rounded_up_in_every_combination() -> None:
    one, two = (Size(constant=0.0, slopes={g: 1.0}) for g in (0, 1))
    segment = Segment(module="layer", operations=((one, two),), following=(two,))
    assert len(segment.products(1)) == 1 + 2 + 1 + 1
    assert len(segment.products(8)) == 1 + 4 + 4 + 1


def test_the_segments_of_a_pass_add_up_to_it(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20")
    model, graph = problem.evaluator.model, problem.evaluator.graph
    modules = [segment.module for segment in segments_of(graph)]
    with ChargedLayers(lambda layer, ins, outs: 1e-3 * ins * outs) as clock:
        taken = instrument(model, modules, ClockStamps(clock))
        found = taken.run(torch.zeros(1, 1, 8, 8))
        taken.remove()
        assert sum(found.values()) == pytest.approx(1e3 * clock.seconds)
        before = clock.seconds
        model(torch.zeros(1, 1, 8, 8))
    assert set(found) == set(modules)
    assert found["classifier"] == pytest.approx(64 * 10)
    assert clock.seconds == pytest.approx(2 * before)
    assert not any(module._forward_pre_hooks for module in model.modules())
