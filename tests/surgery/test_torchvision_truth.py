"""Physical truth on torchvision's networks; minutes, so they are marked slow."""

from __future__ import annotations

import pytest
import torch

from rlprune.graph.trace import trace
from rlprune.models.registry import build_model
from tests.oracles import counted_macs, counted_params, masked, random_plan

NETWORKS = (
    "resnet18",
    "mobilenet_v2",
    "vgg11_bn",
    "densenet121",
    "efficientnet_b0",
    "squeezenet1_0",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_pruned_torchvision_network_is_what_the_graph_says(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(f"torchvision:{name}", in_channels=3, num_classes=10, image_size=64).eval()
    images = torch.randn(2, 3, 64, 64)
    graph = trace(model, images)
    assert len(graph.groups) > 5
    plan = random_plan(graph, seed=1)
    small = plan.apply(model)
    assert counted_params(small) == graph.params(plan)
    assert counted_macs(small, (3, 64, 64)) == graph.macs(plan)
    with torch.no_grad():
        expected = masked(model, plan)(images)
        torch.testing.assert_close(small(images), expected, rtol=1e-4, atol=1e-5)
