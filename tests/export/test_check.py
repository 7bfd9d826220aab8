"""Comparing output tensors."""

from __future__ import annotations

import math

import pytest
import torch

from rlprune.errors import ExportError
from rlprune.export.check import Difference, compare

ONES = torch.ones(2, 3)


def test_the_worst_output_counts_and_is_compared_with_its_own_size() -> None:
    big, small = 100 * ONES, ONES
    assert compare([big + 1, small], [big, small]) == Difference(1.0, 0.01)
    assert compare([big + 1, small + 0.5], [big, small]) == Difference(1.0, 0.5)


def test_equal_infinities_differ_by_nothing_and_do_not_hide_a_difference() -> None:
    masked = torch.tensor([1.0, -math.inf])
    assert compare([masked], [masked]) == Difference(0.0, 0.0)
    assert compare([torch.tensor([2.0, -math.inf])], [masked]) == Difference(1.0, 1.0)
    assert compare([torch.tensor([1.0, 1.0])], [masked]).relative == math.inf


@pytest.mark.parametrize("place", [0, 1])
def test_nan_is_never_lost(place: int) -> None:
    wrong = ONES.clone()
    wrong[0, 0] = math.nan
    pairs = [[ONES, ONES], [ONES, ONES]]
    pairs[0][place] = wrong
    assert math.isnan(compare(*pairs).relative)


def test_outputs_of_zeros_and_without_elements() -> None:
    assert compare([0 * ONES], [0 * ONES]) == Difference(0.0, 0.0)
    assert compare([ONES], [0 * ONES]).relative == math.inf
    assert compare([ONES[:0]], [ONES[:0]]) == Difference(0.0, 0.0)


def test_integers_and_booleans_are_compared_as_numbers() -> None:
    assert compare([torch.tensor([1, 4])], [torch.tensor([1, 5])]) == Difference(1.0, 0.2)
    assert compare([torch.tensor([True])], [torch.tensor([False])]).absolute == 1.0


@pytest.mark.parametrize("exported", [[ONES[:1]], [ONES, ONES], []])
def test_another_shape_or_number_of_outputs_is_an_error(exported: list[torch.Tensor]) -> None:
    with pytest.raises(ExportError, match=r"returns shapes .*, torch \[\(2, 3\)\]"):
        compare(exported, [ONES])
