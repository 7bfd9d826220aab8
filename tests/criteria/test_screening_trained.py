"""Screening on a trained network, at the operating point of its acceptance test."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from rlprune.criteria.base import Probe
from rlprune.criteria.registry import channel_scores
from rlprune.data import fashion_mnist
from rlprune.data.registry import load_data
from rlprune.data.splits import DataSplits
from rlprune.evaluate.evaluator import measure_quality
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace
from rlprune.models.registry import load_model
from rlprune.surgery.plan import Plan

pytestmark = pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(),
    reason="Fashion-MNIST is not installed: apt-get install dataset-fashion-mnist",
)
SINGLE = ("screening-f", "l1")


@cache
def fashion() -> DataSplits:
    return load_data("fashion-mnist", image_size=14)


@cache
def trained(seed: int) -> Probe:
    """The shipped network and one draw of 512 search samples."""
    data = fashion()
    model = load_model("plain_cnn", data).module
    graph = trace(model, data.search.tensors(2)[0])
    return Probe.build(model, graph, data, Classification(), samples=512, seed=seed)


def with_noise_channels(probe: Probe, planted: list[int]) -> Probe:
    """Let channels of the first layer read nothing but a second, random input channel."""
    generator = torch.Generator().manual_seed(probe.seed)
    model = copy.deepcopy(probe.model)
    first, norm, second = (model.features[index] for index in (0, 1, 3))
    with torch.no_grad():
        weight = torch.cat([first.weight, torch.zeros_like(first.weight)], 1)
        weight[planted, 0] = 0
        weight[planted, 1] = 30 * torch.randn(len(planted), 3, 3, generator=generator)
        first.weight, first.in_channels = nn.Parameter(weight), 2
        norm.weight[planted], norm.bias[planted] = 1, 0
        second.weight[:, planted] = 0
    noise = torch.randn(probe.inputs.shape, generator=generator)
    images = torch.cat([probe.inputs, noise], 1)
    recalibrate(model, images)
    return replace(probe, model=model, graph=trace(model, images[:2]), inputs=images)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_noise_channels_are_last_by_f_although_largest_in_l1(seed: int) -> None:
    planted = [0, 5, 9, 14]
    probe = with_noise_channels(trained(seed), planted)
    by_f, by_l1 = (channel_scores(name, probe)["features.0"] for name in SINGLE)
    assert sorted(by_f.argsort()[:4].tolist()) == planted
    assert sorted(by_l1.argsort(descending=True)[:4].tolist()) == planted


def accuracy_without_the_worst_30_per_cent(probe: Probe, criterion: str) -> float:
    data = fashion()
    widths = np.rint(0.7 * probe.graph.widths).astype(np.int64)
    plan = Plan.from_widths(probe.graph, widths, channel_scores(criterion, probe))
    small = plan.apply(probe.model)
    recalibrate(small, data.search.tensors()[0])
    return 100 * measure_quality(small, data.validation, Classification())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_combined_scores_keep_more_than_f_or_magnitude_alone(seed: int) -> None:
    probe = trained(seed)
    combined, by_chance, *single = (
        accuracy_without_the_worst_30_per_cent(probe, name)
        for name in ("screening", "random", *SINGLE)
    )
    assert combined >= max(single) - 2
    assert combined >= by_chance + 5
