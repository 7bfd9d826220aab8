"""What all criteria that differentiate have in common."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rlprune.calling import Inputs
from rlprune.criteria.registry import channel_scores, criterion_named
from rlprune.errors import CriterionError
from rlprune.evaluate.tasks import Classification
from tests import nets
from tests.criteria.probing import GRADIENT_CRITERIA, Chain, probe_of, seeded
from tests.transformer import transformer

NETWORKS = ("ghost", "shared", "concat", "gated", "transposed", "series", "grouped", "tied")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("criterion", GRADIENT_CRITERIA)
def test_every_channel_is_scored_and_the_network_stays_as_it_is(criterion: str, name: str) -> None:
    probe = probe_of(nets.build(name), double=False)
    probe.model.requires_grad_(True)
    for parameter in probe.model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    before = copy.deepcopy(probe.model.state_dict())
    with torch.no_grad():  # scores do not depend on the caller's mode
        scores = channel_scores(criterion, probe)
    assert tuple(scores) == probe.graph.names
    for group in probe.graph.groups:
        values = scores[group.name]
        assert (values.dtype, values.shape) == (torch.float64, (group.width,))
        assert (values >= 0).all()
        assert (values > 0).any()
    for key, value in probe.model.state_dict().items():
        assert torch.equal(value, before[key])
    assert all((parameter.grad == 0.5).all() for parameter in probe.model.parameters())
    assert not any(module.training or module._forward_hooks for module in probe.model.modules())


@pytest.mark.parametrize("criterion", GRADIENT_CRITERIA)
def test_scores_are_the_same_again_and_follow_the_samples(criterion: str) -> None:
    probe = probe_of(seeded(Chain), double=False)
    other = replace(probe, inputs=nets.images(24, seed=9))
    first, again, different = (channel_scores(criterion, p)["first"] for p in (probe, probe, other))
    assert torch.equal(first, again)
    assert not torch.equal(first, different)


@pytest.mark.parametrize("criterion", GRADIENT_CRITERIA)
def test_heads_are_scored_and_blocks_get_nothing(criterion: str) -> None:
    probe = probe_of(transformer(), double=False)
    scores = channel_scores(criterion, probe)
    assert scores["blocks.1 (block)"].tolist() == [0]
    assert (scores["blocks.0.qkv"].view(3, 4, 8).sum((0, 2)) > 0).all()


@pytest.mark.parametrize("criterion", GRADIENT_CRITERIA)
def test_frozen_weights_and_an_empty_probe_are_refused(criterion: str) -> None:
    probe = probe_of(seeded(Chain))
    with pytest.raises(CriterionError, match=f"'{criterion}' needs samples"):
        channel_scores(criterion, replace(probe, inputs=probe.inputs[:0]))
    probe.model.get_parameter("first.weight").requires_grad_(False)
    with pytest.raises(CriterionError, match=r"frozen, the first being 'first.weight'"):
        channel_scores(criterion, probe)


@pytest.mark.parametrize("criterion", GRADIENT_CRITERIA)
def test_networks_that_rebuild_their_input_need_no_labels(criterion: str) -> None:
    probe = probe_of(nets.build("transposed"), double=False)
    assert not criterion_named(criterion).needs & {"labels"}
    assert probe.task.name == "reconstruction"
    assert (channel_scores(criterion, probe)["down"] > 0).any()


class Distances(Classification):
    """A loss from distances, which PyTorch differentiates once."""

    def loss(self, outputs: Tensor, inputs: Inputs, targets: Tensor) -> Tensor:
        return torch.cdist(outputs, outputs.roll(1, 0).detach()).mean()


@pytest.mark.parametrize("criterion", ["taylor-second-order", "hessian"])
def test_a_network_without_second_derivatives_is_refused(criterion: str) -> None:
    probe = replace(probe_of(seeded(Chain)), task=Distances())
    assert (channel_scores("taylor", probe)["first"] > 0).all()
    with pytest.raises(CriterionError, match=r"cannot be differentiated twice .*cdist"):
        channel_scores(criterion, probe)
