"""From masks to smaller networks: units that a mask leaves unread go, and the outputs stay."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rlprune.criteria.base import Probe, WeightScores
from rlprune.criteria.members import summed_over_members
from rlprune.criteria.registry import weight_scores
from rlprune.data.splits import DataSplits
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel
from rlprune.surgery.plan import Plan
from tests.oracles import counted_params

KEPT = 0.08


def masked(model: nn.Module, scores: WeightScores) -> nn.Module:
    """Set all but the best weights of every layer to zero."""
    sparse = copy.deepcopy(model)
    with torch.no_grad():
        for name, one in scores.items():
            least = one.flatten().topk(round(KEPT * one.numel())).values[-1]
            sparse.get_parameter(name).mul_(one >= least)
    return sparse


def without_unread_units(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Remove channels that only zeros read, until there are none."""
    while True:
        graph = trace(model, inputs[:2])
        reads = [piece for piece in graph.slices if piece.reads]
        weights = dict(model.named_parameters())
        counts = summed_over_members(graph, weights, lambda one: one.ne(0).double(), reads)
        kept = {name: count.nonzero().flatten().tolist() for name, count in counts.items()}
        if all(len(kept[group.name]) == group.width for group in graph.groups):
            return model
        model = Plan(kept, graph).apply(model)


@pytest.mark.parametrize("network", ["mlp", "plain_cnn"])
@pytest.mark.parametrize("criterion", ["snip", "l2", "screening", "fisher"])
def test_units_that_a_mask_leaves_unread_go_and_the_logits_stay(
    criterion: str, network: str, digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    model = copy.deepcopy(loaded(network).module).double()
    images, targets = digits.search.tensors(200)
    images = images.double()
    graph = trace(model, images[:2])
    probe = Probe(model, graph, images, targets, Classification(), digits.num_classes)
    sparse = masked(model, weight_scores(criterion, probe))
    small = without_unread_units(sparse, images)
    with torch.no_grad():
        assert sparse(images).std(0).max() > 0.01
        torch.testing.assert_close(small(images), sparse(images), rtol=0, atol=1e-6)
    assert counted_params(small) < 0.9 * counted_params(model)
