"""Layer-wise OBS: costs are those of refitting, and channels that stand in for each other go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rlprune.criteria.layer_obs import LayerOBS
from rlprune.criteria.registry import channel_scores
from rlprune.evaluate.regression import RIDGE
from tests.criteria.probing import CLASSES, Chain, probe_of, seeded


def refitted(read: Tensor, weights: Tensor, gone: list[int]) -> float:
    """Least squared error, ridge included, of all weights without some inputs."""
    ridge = RIDGE * read.square().sum() / read.shape[1]
    left = [i for i in range(read.shape[1]) if i not in gone]
    moments = read.T @ read + ridge * torch.eye(read.shape[1], dtype=read.dtype)
    # The change that removes the inputs and costs the least.
    change = torch.zeros_like(weights)
    change[gone] = -weights[gone]
    change[left] = torch.linalg.solve(
        moments[left][:, left], moments[left][:, gone] @ weights[gone]
    )
    return float((change * (moments @ change)).sum())


@pytest.fixture
def chain() -> Chain:
    model = seeded(Chain)
    assert isinstance(model, Chain)
    return model


def classified(model: Chain, images: Tensor) -> tuple[Tensor, Tensor, float]:
    """Inputs of the classifier with one for the bias, its weights, and its outputs' variance."""
    seen: list[Tensor] = []
    handle = model.classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        outputs = model(images)
    handle.remove()
    read = torch.cat([seen[0], torch.ones(len(images), 1, dtype=images.dtype)], 1)
    weights = torch.cat([model.classifier.weight.T, model.classifier.bias[None]]).detach()
    return read, weights, float((outputs - outputs.mean(0)).square().sum())


def test_scores_are_errors_of_refitting_without_a_channel_and_all_cheaper_ones(
    chain: Chain,
) -> None:
    probe = probe_of(chain)
    assert isinstance(probe.inputs, Tensor)
    read, weights, variance = classified(chain, probe.inputs)
    scores = LayerOBS().channels(probe)["second"]
    order = scores.argsort().tolist()
    gone: list[int] = []
    for channel in order:
        # It is the cheapest of those that are left.
        errors = {i: refitted(read, weights, [*gone, i]) for i in order if i not in gone}
        assert errors[channel] == pytest.approx(min(errors.values()))
        assert scores[channel] == pytest.approx(errors[channel] / variance)
        gone.append(channel)


def test_of_two_equal_channels_one_costs_almost_nothing(chain: Chain) -> None:
    with torch.no_grad():
        for tensor in (chain.first.weight, chain.first.bias):
            tensor[4] = 3 * tensor[1]  # the larger for a norm, no other information
            tensor[1] *= 5
    probe = probe_of(chain)
    scores = LayerOBS().channels(probe)["first"]
    norms = channel_scores("l2", probe)["first"]
    assert {1, 4} == set(norms.argsort(descending=True)[:2].tolist())
    assert int(scores.argmin()) in (1, 4)
    assert scores.min() < 0.2 * scores.sort().values[1]


def test_wide_groups_lose_several_channels_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES)
        ).eval()
    probe = probe_of(model)
    exact = LayerOBS().channels(probe)["1"]
    monkeypatch.setattr("rlprune.criteria.layer_obs._ROUNDS", 8)
    rough = LayerOBS().channels(probe)["1"]
    assert len(rough.unique()) == 32
    assert rough.argmin() == exact.argmin()
    ranks = torch.stack([exact.argsort().argsort(), rough.argsort().argsort()]).double()
    assert torch.corrcoef(ranks)[0, 1] > 0.8


def test_a_group_that_only_a_transposed_convolution_reads_is_ranked_by_norms() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 5, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, CLASSES),
        ).eval()
    probe = probe_of(model)
    norms, scores = channel_scores("l2", probe), LayerOBS().channels(probe)
    assert torch.equal(scores["0"], norms["0"])
    assert not torch.equal(scores["2"], norms["2"])
