"""Scores by activations: dead neurons go first, and batches do not matter."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rlprune.criteria import watching
from rlprune.criteria.base import Probe
from rlprune.criteria.registry import channel_scores
from rlprune.data.splits import DataSplits
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel
from rlprune.surgery.plan import Plan
from tests.criteria.probing import Chain, QueriesAndKeys, probe_of, seeded
from tests.transformer import transformer

NAMES = ("apoz", "activation-mean", "activation-variance")
DEAD = [3, 17, 18, 90, 127]


@pytest.fixture
def mlp(digits: DataSplits, loaded: Callable[[str], LoadedModel]) -> Probe:
    model = copy.deepcopy(loaded("mlp").module)
    images, targets = digits.search.tensors(200)
    return Probe(model, trace(model, images[:2]), images, targets, Classification(), 10)


def plant(model: nn.Module) -> None:
    """Make some neurons of the first layer never answer."""
    with torch.no_grad():
        model.layers[1].bias[DEAD] = -1e3


@pytest.mark.parametrize("name", NAMES)
def test_dead_neurons_are_exactly_the_last(name: str, mlp: Probe) -> None:
    plant(mlp.model)
    scores = channel_scores(name, mlp)["layers.0"]
    assert sorted(scores.argsort()[: len(DEAD)].tolist()) == DEAD
    assert (scores[DEAD] == 0).all()
    assert (scores > 0).sum() == len(scores) - len(DEAD)


def test_removing_dead_neurons_leaves_the_logits(mlp: Probe, digits: DataSplits) -> None:
    plant(mlp.model)
    scores = channel_scores("apoz", mlp)
    widths = mlp.graph.widths.copy()
    widths[0] -= len(DEAD)
    small = Plan.from_widths(mlp.graph, widths, scores).apply(mlp.model)
    assert small.layers[0].out_features == mlp.model.layers[0].out_features - len(DEAD)
    images, _ = digits.test.tensors()
    torch.testing.assert_close(small(images), mlp.model(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_ten_batches_give_what_one_gives(
    name: str, mlp: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_BATCH", 200)
    once = channel_scores(name, mlp)
    monkeypatch.setattr(watching, "_BATCH", 20)
    for group, scores in channel_scores(name, mlp).items():
        torch.testing.assert_close(scores, once[group], rtol=1e-5, atol=1e-9)


def test_all_samples_count_and_not_the_last_batch_alone(mlp: Probe) -> None:
    order = torch.arange(len(mlp)).flip(0)
    turned = replace(mlp, inputs=mlp.inputs[order], targets=mlp.targets[order])
    for name in NAMES:
        for group, scores in channel_scores(name, turned).items():
            torch.testing.assert_close(scores, channel_scores(name, mlp)[group], rtol=1e-5, atol=0)


def test_scores_of_a_convolution_are_those_of_all_its_pixels() -> None:
    probe = probe_of(seeded(Chain))
    pixels = F.relu(probe.model.first(probe.inputs)).detach().movedim(1, 0).flatten(1).numpy()
    expected = {
        "apoz": (pixels != 0).mean(1),
        "activation-mean": np.abs(pixels).mean(1),
        "activation-variance": pixels.var(1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(channel_scores(name, probe)["first"], values, rtol=1e-12)


def test_a_constant_channel_has_no_variance_however_large_it_is() -> None:
    probe = probe_of(seeded(Chain))
    with torch.no_grad():
        probe.model.first.weight[2] = 0
        probe.model.first.bias[2] = 1e3
    assert channel_scores("activation-variance", probe)["first"][2] < 1e-12
    assert channel_scores("activation-mean", probe)["first"].argmax() == 2


def test_a_head_scores_by_what_is_read_of_it(digits: DataSplits) -> None:
    model = transformer()
    images, targets = digits.search.tensors(64)
    probe = Probe(model, trace(model, images[:2]), images, targets, Classification(), 10)
    with torch.no_grad():  # no values, so that the second head adds nothing
        model.blocks[0].qkv.weight[2 * 32 + 8 : 2 * 32 + 16] = 0
        model.blocks[0].qkv.bias[2 * 32 + 8 : 2 * 32 + 16] = 0
    group = probe.graph.group("blocks.0.qkv")
    for name in NAMES:
        scores = channel_scores(name, probe)[group.name]
        per_head = {atom: scores[torch.tensor(group.atoms) == atom] for atom in range(4)}
        assert all((one == one[0]).all() for one in per_head.values())
        assert [float(per_head[atom][0]) > 0 for atom in range(4)] == [True, False, True, True]


def test_channels_that_only_a_product_reads_score_by_what_is_written() -> None:
    probe = probe_of(seeded(QueriesAndKeys))
    model, rows = probe.model, probe.inputs.squeeze(1)
    both = torch.stack([model.query(rows), model.key(rows)]).detach()
    expected = both.abs().mean((1, 2)).mean(0)
    torch.testing.assert_close(channel_scores("activation-mean", probe)["query"], expected)
