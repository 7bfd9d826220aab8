"""The staircase of a planted device is found."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rlprune.latency.granularity import MULTIPLES, measure_granularity
from tests.latency.fake_clock import SETTINGS, ChargedLayers


@pytest.mark.parametrize("planted", MULTIPLES)
def test_the_multiple_that_a_device_rounds_up_to_is_found(planted: int) -> None:
    def cost(layer: nn.Module, ins: int, outs: int) -> float:
        return 1e-3 * math.ceil(ins / planted) * math.ceil(outs / planted)

    with ChargedLayers(cost) as clock:
        found = measure_granularity(torch.device("cpu"), SETTINGS, clock)
    assert found.channels == planted
    assert found.ratios.keys() == set(MULTIPLES[1:])
    assert str(found).startswith(f"{planted} channels")


def test_the_convolutions_are_really_run() -> None:
    charged = ChargedLayers(lambda *_: 1e-3)
    with charged as clock:
        measure_granularity(torch.device("cpu"), SETTINGS, clock)
    assert charged.calls > 100
