"""Connection sensitivity is the gradient's size by a mask of ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.func import functional_call

from rlprune.criteria.members import summed_over_members
from rlprune.criteria.snip import Snip
from tests import nets
from tests.criteria.probing import Chain, probe_of, seeded


def masks_slopes(probe: object, count: int) -> dict[str, torch.Tensor]:
    """Differentiate by a mask on every parameter, as the authors' code does."""
    weights = {name: one.detach() for name, one in probe.model.named_parameters()}
    masks = {name: torch.ones_like(one, requires_grad=True) for name, one in weights.items()}
    masked = {name: one * masks[name] for name, one in weights.items()}
    outputs = functional_call(probe.model, masked, (probe.inputs[:count],))
    loss = probe.task.loss(outputs, probe.inputs[:count], probe.targets[:count])
    slopes = torch.autograd.grad(loss, list(masks.values()))
    return {name: slope.abs() for name, slope in zip(masks, slopes, strict=True)}


def test_weights_are_scored_by_their_masks_slopes_and_sum_to_one() -> None:
    probe = probe_of(nets.build("flattened"))
    slopes = {name: one for name, one in masks_slopes(probe, 24).items() if one.ndim > 1}
    total = sum(one.sum() for one in slopes.values())
    found = Snip().weights(probe)
    assert found.keys() == slopes.keys() == {"conv.weight", "hidden.weight", "classifier.weight"}
    for name, scores in found.items():
        torch.testing.assert_close(scores, slopes[name] / total)


def test_channels_sum_over_all_members_biases_and_scales_included() -> None:
    probe = probe_of(nets.build("flattened"))
    slopes = masks_slopes(probe, 24)
    total = sum(one.sum() for one in slopes.values())
    expected = summed_over_members(probe.graph, {n: s / total for n, s in slopes.items()})
    found = Snip().channels(probe)
    assert found.keys() == expected.keys()
    for name, scores in found.items():
        torch.testing.assert_close(scores, expected[name])


def test_only_one_mini_batch_is_looked_at() -> None:
    probe = probe_of(seeded(Chain), 40)
    later = torch.cat([probe.targets[:16], 9 - probe.targets[16:]])
    first, second = (
        Snip(batch=16).channels(replace(probe, targets=targets))
        for targets in (probe.targets, later)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(Snip(batch=17).channels(probe)["first"], first["first"])


def test_channels_without_effect_go_first() -> None:
    probe = probe_of(seeded(Chain))
    with torch.no_grad():
        probe.model.second.weight[:, 4] = 0
    scores = Snip().channels(probe)["first"]
    assert scores.argmin() == 4
    assert scores[4] == 0
