from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rlprune.dynamics.activations import CHANNELS, ROWS, ActivationSums, Hooks
from rlprune.dynamics.layers import watched


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(shape[1], shape[1], generator=generator)
    drawn = torch.randn(shape, generator=generator).movedim(1, -1) @ mix
    found = drawn.movedim(-1, 1).relu()
    found[:, 0] = 0
    return found


def check(sums: ActivationSums, rows: np.ndarray) -> None:
    """Compare with everything at once, in numpy."""
    found = sums.summary()
    assert found is not None
    assert found.mean_abs == pytest.approx(np.abs(rows).mean(), rel=1e-5)
    assert found.apoz == pytest.approx((rows == 0).mean(), rel=1e-5)
    assert found.dead == pytest.approx((rows == 0).all(0).mean())
    covariance = np.cov(rows.T, bias=True)
    shares = np.linalg.eigvalsh(covariance).clip(0)
    shares = shares[shares > 0] / shares.sum()
    expected = np.exp(-(shares * np.log(shares)).sum()) / rows.shape[1]
    assert found.effective_rank == pytest.approx(expected, rel=1e-3)
    varies = rows.std(0) > 0
    correlations = np.abs(np.corrcoef(rows[:, varies].T))
    pairs = correlations[np.triu_indices(varies.sum(), 1)]
    assert found.correlation == pytest.approx(pairs.mean(), rel=1e-3)


@given(st.integers(0, 50), st.integers(2, 40), st.integers(1, 40))
def test_any_batches_give_the_numbers_of_all_rows(seed: int, rows: int, batch: int) -> None:
    seen = values(rows + 3, 5, seed=seed)
    sums = ActivationSums()
    for some in seen.split(batch):
        sums.add(some, -1)
    check(sums, seen.double().numpy())


def test_channels_of_images_are_seen_over_all_pixels() -> None:
    seen = values(6, 5, 4, 4)
    sums = ActivationSums()
    sums.add(seen, -3)
    check(sums, seen.movedim(1, -1).reshape(-1, 5).double().numpy())


def test_nothing_seen_gives_nothing() -> None:
    assert ActivationSums().summary() is None


def test_what_never_varies_has_no_rank_and_no_correlation() -> None:
    sums = ActivationSums()
    sums.add(torch.ones(8, 4), -1)
    found = sums.summary()
    assert found is not None
    assert (found.effective_rank, found.correlation, found.dead) == (0, 0, 0)


def test_independent_channels_have_full_rank_and_equal_ones_that_of_one() -> None:
    independent, equal = ActivationSums(), ActivationSums()
    drawn = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0))
    independent.add(drawn, -1)
    equal.add(drawn[:, :1].expand(-1, 4), -1)
    apart, together = independent.summary(), equal.summary()
    assert apart is not None
    assert together is not None
    assert apart.effective_rank > 0.99
    assert apart.correlation < 0.05
    assert together.effective_rank == pytest.approx(0.25, rel=1e-3)
    assert together.correlation == pytest.approx(1, rel=1e-3)


def test_many_points_and_channels_are_thinned_out_evenly() -> None:
    sums = ActivationSums()
    seen = torch.rand(64, 2 * CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0))
    sums.add(seen, -3)
    assert ROWS <= sums._count < 2 * ROWS
    assert sums._mean.shape == (CHANNELS,)
    found = sums.summary()
    assert found is not None
    assert found.mean_abs == pytest.approx(0.5, rel=1e-2)


def test_hooks_look_only_when_they_are_active_and_are_gone_when_removed() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 1), nn.ReLU(), nn.Conv1d(4, 2, 1))
    active = False
    hooks = Hooks(watched(model), lambda: active)
    hooks.attach()
    inputs = torch.randn(5, 3, 7)
    model(inputs)
    assert hooks.summary("2.weight") is None
    active = True
    model(inputs)
    seen = torch.relu(model[0](inputs)).detach()
    found = hooks.summary("2.weight")
    assert found is not None
    assert found.mean_abs == pytest.approx(float(seen.abs().mean()), rel=1e-5)
    hooks.remove()
    assert all(len(module._forward_pre_hooks) == 0 for module in model.modules())


def test_a_layer_that_is_called_by_keyword_or_without_a_batch_is_seen_too() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Conv2d(3, 2, 1))
    hooks = Hooks(watched(model), lambda: True)
    hooks.attach()
    model[0](input=torch.ones(3))
    model[1](torch.ones(3, 5, 5))
    for name in ("0.weight", "1.weight"):
        found = hooks.summary(name)
        assert found is not None
        assert found.mean_abs == 1
