"""Losses and metrics against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rlprune.errors import ModelError
from rlprune.evaluate.tasks import Classification, Reconstruction, infer_task

CLASSES = torch.arange(4)


def test_divergence_is_kl_from_dense_to_pruned_in_nats_averaged_over_images() -> None:
    dense = torch.tensor([[0.5, 0.5], [0.75, 0.25]]).log()
    pruned = torch.tensor([[0.25, 0.75], [0.75, 0.25]]).log() + 7.0  # logits may be shifted
    by_hand = (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)) / 2
    assert float(Classification().divergence(pruned, dense)) == pytest.approx(by_hand, rel=1e-5)
    assert by_hand == pytest.approx(0.0719, abs=1e-4)


def test_divergence_of_equal_outputs_is_zero() -> None:
    logits = torch.randn(5, 3)
    assert float(Classification().divergence(logits + 3, logits)) == pytest.approx(0, abs=1e-6)
    assert float(Reconstruction().divergence(logits, logits)) == 0


def test_divergence_is_never_negative() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        logits = torch.randn(64, 10, generator=generator)
        assert float(Classification().divergence(logits + 7, logits)) >= 0


def test_accuracy_is_the_fraction_of_largest_logits() -> None:
    outputs = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 1.0], [1.0, 0.0]])
    targets = torch.tensor([0, 1, 1, 1])
    assert Classification().quality(outputs, outputs, targets) == 0.5


def test_psnr_is_that_of_the_textbook() -> None:
    inputs = torch.tensor([[0.0, 1.0, 2.0, 2.0]])
    outputs = inputs + 0.2
    # peak 2, mean squared error 0.04: 10 log10(4 / 0.04) = 20 dB
    assert Reconstruction().quality(outputs, inputs, CLASSES) == pytest.approx(20.0, abs=1e-4)


def test_a_perfect_reconstruction_has_a_finite_psnr() -> None:
    inputs = torch.tensor([[0.0, 1.0]])
    assert Reconstruction().quality(inputs, inputs, CLASSES) == pytest.approx(120.0)


def test_distillation_softens_at_temperature_two() -> None:
    dense, pruned = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    p = 1 / (1 + math.exp(-1.0))
    by_hand = 4 * (p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5))
    assert float(Classification().distillation(pruned, dense)) == pytest.approx(by_hand, rel=1e-5)


def test_losses_are_cross_entropy_and_squared_error() -> None:
    logits = torch.zeros(2, 4)
    assert float(Classification().loss(logits, logits, torch.tensor([0, 3]))) == pytest.approx(
        math.log(4)
    )
    assert float(Reconstruction().loss(logits + 3, logits, CLASSES)) == pytest.approx(9.0)


def test_the_task_is_told_from_the_shapes() -> None:
    images = torch.zeros(4, 1, 8, 8)
    assert infer_task(torch.zeros(4, 10), images, CLASSES, 10).name == "classification"
    assert infer_task(torch.zeros(4, 1000), images, CLASSES, 10).name == "classification"
    assert infer_task(images, images, CLASSES, 10).name == "reconstruction"


def test_several_inputs_are_no_obstacle() -> None:
    tokens, images = torch.zeros(4, 10, dtype=torch.int64), torch.zeros(4, 1, 8, 8)
    pair = {"tokens": tokens, "images": images}
    assert infer_task(torch.zeros(4, 10), pair, CLASSES, 10).name == "classification"
    assert infer_task(torch.zeros(4, 10), pair, CLASSES, 3).name == "classification"
    assert infer_task(images, (images, tokens), CLASSES, 10).name == "reconstruction"


def test_logits_are_logits_even_where_the_inputs_have_as_many_features() -> None:
    features = torch.zeros(4, 10)
    assert infer_task(torch.zeros(4, 10), features, CLASSES, 10).name == "classification"
    assert infer_task(torch.zeros(4, 10), features, CLASSES, 3).name == "reconstruction"


def test_targets_that_are_tensors_are_rebuilt() -> None:
    noisy, clean = torch.zeros(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    task = infer_task(torch.zeros(4, 1, 8, 8), {"noisy": noisy}, clean, 1)
    assert task.name == "reconstruction"
    assert float(task.loss(clean, {"noisy": noisy}, clean)) == 0
    assert task.quality(clean, {"noisy": noisy}, clean) > 100
    assert task.quality(noisy, {"noisy": noisy}, clean) < 20
    with pytest.raises(ModelError, match=r"shape \(4, 10\) for targets \(4, 1, 8, 8\)"):
        infer_task(torch.zeros(4, 10), noisy, clean, 1)


@pytest.mark.parametrize("value", [float("inf"), 1e30])
def test_a_reconstruction_that_diverged_has_a_finite_psnr(value: float) -> None:
    inputs = torch.tensor([[0.0, 1.0]])
    assert Reconstruction().quality(inputs + value, inputs, CLASSES) == pytest.approx(-120.0)


@pytest.mark.parametrize("shape", [(4, 9), (4, 10, 1), (3, 10), (4,), (4, 1, 4, 4)])
def test_outputs_that_are_neither_are_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"expected logits \(4, 10\) or a reconstruction"):
        infer_task(torch.zeros(shape), torch.zeros(4, 1, 8, 8), CLASSES, 10)
