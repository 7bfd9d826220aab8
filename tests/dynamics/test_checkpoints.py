from __future__ import annotations

import pytest
import torch
from torch import nn

from rlprune.dynamics.checkpoints import Checkpoints, larger_half
from rlprune.dynamics.layers import watched


def test_half_of_the_channels_are_the_larger_ones() -> None:
    assert larger_half(torch.tensor([3.0, 1.0, 2.0, 4.0])).tolist() == [True, False, False, True]
    assert int(larger_half(torch.ones(7)).sum()) == 4
    assert larger_half(torch.ones(4)).tolist() == [True, True, False, False]


def test_drift_and_mask_distance_tell_what_moved() -> None:
    model = nn.Linear(1, 4, bias=False)
    layers = watched(model)
    checkpoints = Checkpoints(layers)
    set_weight(model, [4, 3, 2, 1])
    checkpoints.epoch()
    nothing = checkpoints.summary(layers[0])
    assert (nothing.weight_drift, nothing.mask_distance) == (None, None)
    checkpoints.halfway()
    set_weight(model, [4, 2, 3, 1])
    checkpoints.epoch()
    found = checkpoints.summary(layers[0])
    assert found.weight_drift == pytest.approx(2**0.5 / 30**0.5)
    assert found.mask_distance == 0.5
    checkpoints.epoch()
    assert checkpoints.summary(layers[0]).mask_distance == 0
    set_weight(model, [0, 0, 0, 0])
    assert checkpoints.summary(layers[0]).weight_drift == 0


def set_weight(model: nn.Linear, values: list[float]) -> None:
    with torch.no_grad():
        model.weight.copy_(torch.tensor(values, dtype=torch.float32)[:, None])
