"""BatchNorm statistics after recalibration are those of the images."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rlprune.evaluate.recalibrate import recalibrate
from tests import nets
from tests.oracles import assert_same_tensors


def test_statistics_are_the_average_over_batches_computed_by_hand() -> None:
    network, images = nets.build("flattened"), nets.images(100)
    recalibrate(network, images, batch_size=40)
    means, variances = [], []
    for batch in (images[:33], images[33:66], images[66:]):
        features = F.conv2d(batch, network.conv.weight, network.conv.bias, padding=1)
        channels = features.detach().transpose(0, 1).flatten(1)
        means.append(channels.mean(1))
        variances.append(channels.var(1, correction=1))
    torch.testing.assert_close(network.bn.running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(network.bn.running_var, torch.stack(variances).mean(0))


def test_weights_momentum_and_modes_stay_and_the_model_ends_in_eval_mode() -> None:
    network = nets.build("flattened").train()
    network.bn.momentum = 0.123
    before = copy.deepcopy(network)
    recalibrate(network, nets.images(10))
    assert not any(module.training for module in network.modules())
    assert network.bn.momentum == 0.123
    for (name, new), old in zip(network.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(new, old), name
    assert not torch.equal(network.bn.running_mean, before.bn.running_mean)


def test_what_was_there_before_does_not_matter_and_twice_is_the_same_as_once() -> None:
    first, second = nets.build("ghost"), nets.build("ghost")
    second.bn.running_mean.fill_(100.0)
    recalibrate(first, nets.images(10))
    recalibrate(second, nets.images(10))
    assert_same_tensors(first, second)
    recalibrate(second, nets.images(10))
    assert_same_tensors(first, second)


def test_keyword_inputs_give_the_same_statistics() -> None:
    plain, keywords = nets.build("flattened"), nets.Keywords(nets.build("flattened"))
    recalibrate(plain, nets.images(9), batch_size=4)
    recalibrate(keywords, {"image": nets.images(9), "scale": torch.ones(9, 1)}, batch_size=4)
    assert_same_tensors(plain, keywords.network)


@pytest.mark.parametrize("name", ["gated", "shared"])
def test_a_model_without_batchnorm_is_left_as_it_is(name: str) -> None:
    network = nets.build(name)
    recalibrate(network, nets.images(4))
    assert_same_tensors(network, nets.build(name))


def test_batchnorm_that_keeps_no_statistics_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    recalibrate(network, nets.images(4))
    assert network[1].running_mean is None
