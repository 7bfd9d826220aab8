"""FPGM against the distances written out."""

from __future__ import annotations

import torch

from rlprune.criteria.fpgm import FPGM
from tests import nets
from tests.criteria.probing import Chain, probe_of, seeded


def distances(filters: torch.Tensor) -> torch.Tensor:
    rows = filters.detach().flatten(1)
    return torch.stack([sum((one - other).norm() for other in rows) for one in rows])


def test_scores_are_sums_of_distances_to_the_other_filters() -> None:
    probe = probe_of(seeded(Chain))
    expected = distances(probe.model.second.weight)
    torch.testing.assert_close(FPGM().channels(probe)["second"], expected)


def test_all_layers_that_write_a_group_count_and_its_consumers_do_not() -> None:
    probe = probe_of(nets.build("shared"))
    model = probe.model
    expected = distances(model.stem.weight) + distances(model.shared.weight)
    torch.testing.assert_close(FPGM().channels(probe)["stem"], expected)
    with torch.no_grad():
        model.last.weight.mul_(7)
        model.stem.bias.add_(3)
    torch.testing.assert_close(FPGM().channels(probe)["stem"], expected)


def test_transposed_convolutions_hold_filters_along_their_second_dimension() -> None:
    probe = probe_of(nets.build("transposed"))
    model = probe.model
    expected = distances(model.up.weight.transpose(0, 1)) + distances(model.depthwise.weight)
    torch.testing.assert_close(FPGM().channels(probe)["up"], expected)


def test_a_copied_filter_goes_before_one_that_stands_alone() -> None:
    probe = probe_of(seeded(Chain))
    weight = probe.model.first.weight
    with torch.no_grad():
        weight[1], weight[2] = weight[0], weight[0]
        weight[3] = 5
    scores = FPGM().channels(probe)["first"]
    assert set(scores.argsort()[:3].tolist()) == {0, 1, 2}
    assert scores.argmax() == 3


def test_a_filter_and_its_negative_are_far_apart() -> None:
    """torch-pruning's criterion, the distance of squared weights, calls them equal."""
    probe = probe_of(seeded(Chain))
    weight = probe.model.first.weight
    with torch.no_grad():
        weight[1] = -weight[0]
    expected = distances(weight)
    assert expected[0] >= 2 * weight[0].norm()
    torch.testing.assert_close(FPGM().channels(probe)["first"], expected)
