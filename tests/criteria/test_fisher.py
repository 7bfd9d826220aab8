"""Diagonals of curvature against sums over single samples and the exact Hessian."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from rlprune.criteria.base import Probe
from rlprune.criteria.fisher import Fisher, Hessian
from rlprune.criteria.members import summed_over_members
from tests import nets
from tests.criteria.probing import Chain, probe_of, seeded


class Tiny(nn.Module):
    """A network whose whole Hessian can be written down; it reads the first pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 4)
        self.classifier = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.tanh(self.hidden(x.flatten(1)[:, :4])))


def fitted() -> Tiny:
    """Train on what the probe holds, as far as that goes."""
    probe = probe_of(seeded(Tiny), 60)
    optimizer = torch.optim.SGD(probe.model.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        torch.autograd.backward(probe.loss(probe.inputs, probe.targets))
        optimizer.step()
    optimizer.zero_grad()
    return probe.model


def exact_diagonal(probe: Probe) -> dict[str, Tensor]:
    """Return the diagonal of the Hessian over all samples, parameter by parameter."""
    weights = {name: one.detach() for name, one in probe.model.named_parameters()}

    def loss(name: str, flat: Tensor) -> Tensor:
        replaced = {**weights, name: flat.view_as(weights[name])}
        outputs = functional_call(probe.model, replaced, (probe.inputs,))
        return probe.task.loss(outputs, probe.inputs, probe.targets)

    return {
        name: torch.autograd.functional.hessian(
            lambda flat, name=name: loss(name, flat), w.flatten()
        )
        .diagonal()
        .view_as(w)
        for name, w in weights.items()
    }


def test_hutchinsons_diagonal_is_that_of_the_exact_hessian_over_all_samples() -> None:
    probe = probe_of(fitted(), 60)
    exact = exact_diagonal(probe)
    found = Hessian(batch=16, vectors=64).diagonal(probe)  # 4 batches: 256 vectors
    ours, theirs = (torch.cat([v.flatten() for v in d.values()]) for d in (found, exact))
    assert float(ours.sum()) == pytest.approx(float(theirs.sum()), rel=0.1)
    assert float((ours - theirs).norm() / theirs.norm()) < 0.1


def test_every_sample_counts() -> None:
    probe = probe_of(seeded(Tiny), 60)
    changed = replace(probe, targets=torch.cat([probe.targets[:-1], 9 - probe.targets[-1:]]))
    for criterion in (Fisher(), Hessian()):
        first, second = (criterion.channels(one)["hidden"] for one in (probe, changed))
        assert not torch.equal(first, second)


def test_saliencies_are_half_the_squared_weight_times_positive_curvature() -> None:
    probe = probe_of(seeded(Tiny), 60)
    criterion = Hessian(vectors=8)
    curvature = criterion.diagonal(probe)
    assert any((one < 0).any() for one in curvature.values())
    for name, scores in criterion.weights(probe).items():
        weight = probe.model.get_parameter(name).detach()
        torch.testing.assert_close(scores, weight**2 * curvature[name].clamp_min(0) / 2)


def test_the_fisher_of_single_samples_is_their_mean_squared_gradient() -> None:
    probe = probe_of(nets.build("flattened"), 12)
    squares = {name: torch.zeros_like(one) for name, one in probe.model.named_parameters()}
    for sample in range(12):
        one = slice(sample, sample + 1)
        loss = probe.loss(probe.inputs[one], probe.targets[one])
        slopes = torch.autograd.grad(loss, list(probe.model.parameters()))
        for name, slope in zip(squares, slopes, strict=True):
            squares[name] += slope**2 / 12
    saliencies = {
        name: one.detach() ** 2 * squares[name] / 2 for name, one in probe.model.named_parameters()
    }
    expected = summed_over_members(probe.graph, saliencies)
    for name, scores in Fisher(batch=1).channels(probe).items():
        torch.testing.assert_close(scores, expected[name])
    weights = Fisher(batch=1).weights(probe)
    assert weights.keys() == {"conv.weight", "hidden.weight", "classifier.weight"}
    for name, scores in weights.items():
        torch.testing.assert_close(scores, saliencies[name])


def test_a_channel_that_nothing_reads_costs_nothing() -> None:
    probe = probe_of(seeded(Chain))
    with torch.no_grad():
        probe.model.second.weight[:, 2] = 0
    scores = Fisher().channels(probe)["first"]
    assert scores[2] == 0
    assert (scores[:2] > 0).all()
