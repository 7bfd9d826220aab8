"""LAMP of single weights and of channels."""

from __future__ import annotations

import torch

from rlprune.criteria.lamp import LAMP
from rlprune.criteria.norms import L2
from rlprune.criteria.registry import channel_scores
from tests.criteria.probing import Chain, probe_of, seeded


def test_weights_score_their_square_over_the_sum_of_those_not_smaller_in_the_layer() -> None:
    probe = probe_of(seeded(Chain))
    weight = probe.model.classifier.weight.detach()
    squares = weight.square()
    expected = torch.tensor(
        [[float(one / squares[squares >= one].sum()) for one in row] for row in squares]
    ).double()
    torch.testing.assert_close(LAMP().weights(probe)["classifier.weight"], expected)


def test_the_largest_weight_of_every_layer_scores_one() -> None:
    for scores in LAMP().weights(probe_of(seeded(Chain))).values():
        assert scores.max() == 1


def test_channels_are_group_norms_with_the_normaliser_of_that_name() -> None:
    probe = probe_of(seeded(Chain))
    for name, scores in channel_scores("l2", probe, "lamp").items():
        torch.testing.assert_close(LAMP().channels(probe)[name], scores)


def test_within_a_group_the_order_is_that_of_the_norm() -> None:
    probe = probe_of(seeded(Chain))
    lamp, norm = LAMP().channels(probe), L2().channels(probe)
    for name in norm:
        assert torch.equal(lamp[name].argsort(), norm[name].argsort())


def test_scaling_a_layer_changes_nothing() -> None:
    probe = probe_of(seeded(Chain))
    before = LAMP().weights(probe)
    with torch.no_grad():
        probe.model.first.weight.mul_(100)
    after = LAMP().weights(probe)
    for name, scores in before.items():
        torch.testing.assert_close(after[name], scores)
