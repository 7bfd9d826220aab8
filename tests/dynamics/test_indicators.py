from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from rlprune.dynamics import record
from rlprune.dynamics.indicators import INDICATORS, Indicator, indicators_of
from rlprune.dynamics.record import (
    Activations,
    Curvature,
    DataTraits,
    Drift,
    Gradients,
    Trajectory,
    Weights,
)

BLOCKS = (Weights, Gradients, Activations, Curvature, Drift, Trajectory, DataTraits)
OF_BLOCK = {one.block: one for one in BLOCKS}


def filled(block: str, **changes: float) -> dict[str, float]:
    inside = {one.name: max(0.0, one.range[0]) for one in indicators_of(block)}  # type: ignore[arg-type]
    return {**inside, **changes}


@pytest.mark.parametrize("block", BLOCKS)
def test_the_table_names_every_field_of_the_record_in_its_order(
    block: type[record._Block],
) -> None:
    assert tuple(block.model_fields) == tuple(one.name for one in indicators_of(block.block))


def test_every_indicator_is_in_a_block_and_says_what_it_is() -> None:
    assert {one.block for one in INDICATORS} == set(OF_BLOCK)
    assert len({(one.block, one.name) for one in INDICATORS}) == len(INDICATORS)
    for one in INDICATORS:
        assert one.meaning
        assert one.unit
        assert one.range[0] < one.range[1]


@pytest.mark.parametrize("one", INDICATORS, ids=lambda one: f"{one.block}.{one.name}")
def test_the_record_holds_what_is_in_range_and_nothing_else(one: Indicator) -> None:
    block = OF_BLOCK[one.block]
    block.model_validate(filled(one.block))
    for wrong in (one.range[0] - 1, one.range[1] + 1, math.nan, math.inf, -math.inf):
        with pytest.raises(ValidationError, match=one.name):
            block.model_validate(filled(one.block, **{one.name: wrong}))
