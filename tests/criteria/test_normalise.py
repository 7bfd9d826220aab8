"""What each normaliser promises, for any scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlprune.criteria.normalise import NORMALISERS, by_mean, by_rank, by_what_remains

scores = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


def same_order(first: Tensor, second: Tensor) -> bool:
    """Whether all pairs compare alike: smaller, equal or larger."""
    return torch.equal(
        (first[:, None] - first).sign(),
        (second[:, None] - second).sign(),
    )


@given(scores)
def test_rank_preserves_order_and_ties(values: Tensor) -> None:
    ranks = by_rank(values)
    assert same_order(values, ranks)
    assert ranks.max() == 1
    assert ranks.min() > 0


@given(scores)
def test_rank_is_the_share_of_scores_that_are_not_larger(values: Tensor) -> None:
    brute = torch.stack([(values <= one).double().mean() for one in values])
    torch.testing.assert_close(by_rank(values), brute)


@given(scores)
def test_divided_by_the_mean_scores_have_mean_one(values: Tensor) -> None:
    assert by_mean(values).mean().item() == pytest.approx(1)


@given(scores)
def test_lamp_is_a_square_over_the_sum_of_those_not_smaller(values: Tensor) -> None:
    squares = values**2
    brute = torch.stack([one / squares[squares >= one].sum() for one in squares])
    torch.testing.assert_close(by_what_remains(values), brute)


@given(scores.map(torch.unique))
def test_the_best_of_a_group_has_lamp_score_one(values: Tensor) -> None:
    lamp = by_what_remains(values)
    assert lamp[values.argmax()] == 1
    assert lamp.max() == 1


@given(scores, st.randoms(use_true_random=False))
def test_lamp_and_rank_do_not_depend_on_the_order_of_channels(
    values: Tensor, random: object
) -> None:
    order = list(range(len(values)))
    random.shuffle(order)
    for normalise in (by_rank, by_what_remains):
        torch.testing.assert_close(normalise(values[order]), normalise(values)[order])


@pytest.mark.parametrize("name", NORMALISERS)
@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0, 0.0], [0.0, 2.0]])
def test_scores_of_zero_stay_finite(name: str, values: list[float]) -> None:
    given_scores = {"group": torch.tensor(values, dtype=torch.float64)}
    normalised = NORMALISERS[name](given_scores)["group"]
    assert normalised.isfinite().all()
    assert (normalised >= 0).all()


def test_equal_scores_share_what_remains() -> None:
    values = torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64)
    expected = torch.tensor([1 / 9, 0.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(by_what_remains(values), expected)


def test_weights_keep_their_shape() -> None:
    weight = torch.rand(4, 3, 2, dtype=torch.float64)
    for normalise in (by_rank, by_what_remains):
        torch.testing.assert_close(normalise(weight).flatten(), normalise(weight.flatten()))


def test_groups_are_normalised_apart() -> None:
    first, second = torch.tensor([1.0, 3.0]).double(), torch.tensor([100.0, 300.0]).double()
    together = NORMALISERS["mean"]({"first": first, "second": second})
    torch.testing.assert_close(together["first"], together["second"])


def test_what_is_not_a_number_is_not_hidden() -> None:
    values = torch.tensor([1.0, torch.nan, 2.0], dtype=torch.float64)
    assert by_what_remains(values).isnan().all()
    assert by_mean(values).isnan().all()
