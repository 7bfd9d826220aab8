from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rlprune.dynamics.gradients import GradientSums


def draws(count: int, *shape: int, mean: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return mean + torch.randn(count, *shape, generator=generator, dtype=torch.float64)


def sums_of(weight: Tensor, gradients: Tensor) -> GradientSums:
    sums = GradientSums()
    for one in gradients:
        sums.add({"w": weight}, {"w": one})
    return sums


def test_signal_to_noise_is_that_of_the_mean_over_mini_batches() -> None:
    gradients = draws(9, 4, 5, mean=0.7)
    found = sums_of(torch.ones(4, 5).double(), gradients).summary("w")
    array = gradients.numpy()
    deviation = math.sqrt(array.var(0, ddof=1).sum())
    assert found is not None
    assert found.snr == pytest.approx(np.linalg.norm(array.mean(0)) / deviation)
    assert found.log_rms == pytest.approx(math.log(math.sqrt((array**2).mean())))
    assert found.taylor_share == 1


def test_equal_gradients_have_the_largest_ratio_and_none_the_smallest_size() -> None:
    weight = torch.ones(3).double()
    same = sums_of(weight, torch.ones(4, 3).double()).summary("w")
    none = sums_of(weight, torch.zeros(4, 3).double()).summary("w")
    assert same is not None
    assert none is not None
    assert same.snr == 100
    assert (none.snr, none.taylor_share, none.weight_ratio) == (0, 0, 0)
    assert none.log_rms == pytest.approx(math.log(1e-12))


def test_one_mini_batch_has_no_spread_and_so_no_numbers() -> None:
    assert sums_of(torch.ones(3), torch.ones(1, 3)).summary("w") is None
    assert GradientSums().summary("w") is None


def test_shares_are_of_all_weights_and_those_without_gradient_are_left_out() -> None:
    sums = GradientSums()
    weights = {"a": torch.ones(2), "b": torch.full((2,), 3.0), "frozen": torch.ones(2)}
    for _ in range(2):
        sums.add(weights, {"a": torch.ones(2), "b": -torch.ones(2), "frozen": None})
    a, b = sums.summary("a"), sums.summary("b")
    assert a is not None
    assert b is not None
    assert (a.taylor_share, b.taylor_share) == (0.25, 0.75)
    assert sums.summary("frozen") is None


def test_sparse_gradients_count_as_dense_ones() -> None:
    gradient = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    dense, sparse = GradientSums(), GradientSums()
    for _ in range(2):
        dense.add({"w": torch.ones(2, 2)}, {"w": gradient})
        sparse.add({"w": torch.ones(2, 2)}, {"w": gradient.to_sparse()})
    assert dense.summary("w") == sparse.summary("w")


def test_the_fisher_of_single_samples_is_exact() -> None:
    gradients = draws(50, 6, mean=0.3)
    sums = sums_of(torch.ones(6).double(), gradients)
    assert sums.fisher("w", batch=1) == pytest.approx(float(gradients.square().mean()))


def test_the_fisher_of_mini_batches_estimates_that_of_single_samples() -> None:
    gradients = draws(64 * 16, 200, mean=0.3)
    means = gradients.reshape(64, 16, 200).mean(1)
    found = sums_of(torch.ones(200).double(), means).fisher("w", batch=16)
    assert found == pytest.approx(float(gradients.square().mean()), rel=0.05)
    assert float(means.square().mean()) < 0.3 * found  # what the means' own squares would say
