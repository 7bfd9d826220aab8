"""Scales of BatchNorm, of every layer that has one and of those that have none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from rlprune.criteria.base import Probe
from rlprune.criteria.batchnorm import BatchNormScale
from rlprune.criteria.norms import group_norms
from rlprune.data.splits import DataSplits
from rlprune.errors import CriterionError
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel
from tests import nets
from tests.criteria.probing import Chain, probe_of, seeded


def test_a_layer_of_its_own_scores_its_scales_whatever_their_sign() -> None:
    network = nets.build("flattened")
    with torch.no_grad():
        network.bn.weight[::2] *= -1
    found = BatchNormScale().channels(probe_of(network))
    torch.testing.assert_close(found["conv"], network.bn.weight.detach().abs())


def test_a_residual_group_scores_the_mean_over_all_its_batchnorms(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    model = loaded("resnet20").module
    images, targets = digits.search.tensors(8)
    graph = trace(model, images)
    probe = Probe(model, graph, images, targets, Classification(), 10)
    residual = max(graph.groups, key=lambda group: len(group.members))
    modules = dict(model.named_modules())
    norms = [one for one in residual.members if isinstance(modules.get(one), nn.BatchNorm2d)]
    assert len(norms) > 3
    expected = torch.stack([modules[one].weight.detach().double().abs() for one in norms]).mean(0)
    torch.testing.assert_close(BatchNormScale().channels(probe)[residual.name], expected)


def test_a_group_without_batchnorm_is_ranked_by_its_norm() -> None:
    network = nets.build("flattened")
    probe = probe_of(network)
    norms = group_norms(network, probe.graph)
    torch.testing.assert_close(BatchNormScale().channels(probe)["hidden"], norms["hidden"])


def test_a_network_without_batchnorm_is_refused() -> None:
    with pytest.raises(CriterionError, match=r"'batchnorm' needs BatchNorm.*such as l2"):
        BatchNormScale().channels(probe_of(seeded(Chain)))


def test_batchnorm_without_scales_is_none() -> None:
    network = nets.build("series")
    network.bn = nn.BatchNorm1d(12, affine=False).eval()
    with pytest.raises(CriterionError, match="needs BatchNorm layers with scales"):
        BatchNormScale().channels(probe_of(network))
