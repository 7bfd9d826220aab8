"""Streamed moments against NumPy's of everything at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlprune.criteria.moments import Moments


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 60), st.floats(-1e6, 1e6))
def test_any_batches_give_the_moments_of_all_rows(
    seed: int, rows: int, batch: int, offset: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, 3, generator=generator, dtype=torch.float64) + offset
    labels = torch.randint(4, (rows,), generator=generator)
    moments = Moments.empty(4, 3)
    for some, theirs in zip(values.split(batch), labels.split(batch), strict=True):
        moments.add(some, theirs)
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moments.variance, values.numpy().var(0), rtol=1e-6, atol=1e-9)
    for k in range(4):
        mine = values[labels == k].numpy()
        assert moments.counts[k] == len(mine)
        if len(mine):
            np.testing.assert_allclose(moments.means[k], mine.mean(0), rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(
                moments.squares[k], len(mine) * mine.var(0), rtol=1e-6, atol=1e-9
            )


def test_a_large_mean_does_not_swallow_a_small_variance() -> None:
    values = 1e8 + torch.linspace(0, 1, 100, dtype=torch.float64)[:, None]
    moments = Moments.empty(1, 1)
    for some in values.split(7):
        moments.add(some, torch.zeros(len(some), dtype=torch.int64))
    assert moments.variance.item() == pytest.approx(values.numpy().var(), rel=1e-6)


def test_no_rows_have_no_variance() -> None:
    assert Moments.empty(2, 3).variance.tolist() == [0, 0, 0]
