from __future__ import annotations

import pytest
import torch
from torch import nn

from rlprune.dynamics.layers import watched, weights_of
from rlprune.errors import DynamicsError, UnknownNameError
from tests import nets


@pytest.mark.parametrize("shape", [(3, 5), (40, 30), (30, 4, 3, 3), (1, 7)])
def test_the_stable_rank_is_that_of_all_singular_values(shape: tuple[int, ...]) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    values = torch.linalg.svdvals(model.weight.detach().flatten(1).double())
    expected = float(values.square().sum() / values[0] ** 2) / len(values)
    (layer,) = watched(model)
    assert weights_of(layer).stable_rank == pytest.approx(expected, rel=1e-6)


def test_a_weight_of_one_direction_has_the_smallest_stable_rank_and_no_weight_none() -> None:
    model = nn.Linear(20, 20)
    with torch.no_grad():
        model.weight.copy_(torch.ones(20, 20))
    assert weights_of(watched(model)[0]).stable_rank == pytest.approx(1 / 20)
    nn.init.zeros_(model.weight)
    assert weights_of(watched(model)[0]).stable_rank == 0


def test_all_weights_of_two_dimensions_or_more_are_watched_by_the_layer_that_reads_them() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2), nn.LSTM(2, 2))
    found = {layer.name: layer.reader for layer in watched(model)}
    assert found == {
        "0.weight": model[0],
        "2.weight": model[2],
        "3.weight_ih_l0": None,
        "3.weight_hh_l0": None,
    }


def test_a_parametrised_weight_belongs_to_its_layer() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    assert [layer.reader for layer in watched(model)] == [model[0], model[0]]


def test_the_channels_of_a_transposed_convolution_are_its_outputs() -> None:
    model = nets.build("transposed")
    layer = next(one for one in watched(model) if one.name == "up.weight")
    expected = model.get_parameter("up.weight").detach().square().sum((0, 2, 3)).sqrt()
    torch.testing.assert_close(layer.channel_norms, expected)


def test_names_choose_what_is_watched_and_unknown_ones_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    assert [layer.name for layer in watched(model, ["1.weight"])] == ["1.weight"]
    with pytest.raises(UnknownNameError, match=r"did you mean '1\.weight'"):
        watched(model, ["1.weigh"])
    with pytest.raises(DynamicsError, match="ReLU has no weights"):
        watched(nn.ReLU())
