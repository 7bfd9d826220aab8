"""Metrics against scikit-learn, and which network they are for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from rlprune.errors import MetricError, UnknownNameError
from rlprune.evaluate.metrics import METRICS, metric_named
from rlprune.evaluate.tasks import Classification, Reconstruction
from tests.conftest import GetProblem

CLASSES = 5


def value(name: str, outputs: torch.Tensor, targets: torch.Tensor, dense: torch.Tensor) -> float:
    return METRICS[name].measure(outputs, torch.zeros(len(targets), 1), targets, dense)


@given(
    st.lists(
        st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)),
        min_size=1,
        max_size=40,
    )
)
def test_recalls_and_accuracy_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = map(list, zip(*pairs, strict=True))
    outputs = torch.nn.functional.one_hot(torch.tensor(predicted), CLASSES).float()
    targets = torch.tensor(truth)
    recalls = recall_score(truth, predicted, labels=sorted(set(truth)), average=None)
    found = {name: value(name, outputs, targets, outputs) for name in METRICS if name != "psnr_db"}
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted), abs=1e-6)
    assert found["macro_recall"] == pytest.approx(np.mean(recalls), abs=1e-6)
    assert found["worst_recall"] == pytest.approx(np.min(recalls), abs=1e-6)
    assert found["agreement"] == 1.0


def test_a_class_without_samples_has_no_recall() -> None:
    outputs = torch.eye(3)[[0, 1]]
    assert value("worst_recall", outputs, torch.tensor([0, 1]), outputs) == 1.0


def test_agreement_is_with_the_dense_network_and_not_with_the_truth() -> None:
    outputs, dense = torch.eye(3)[[0, 1, 2, 2]], torch.eye(3)[[0, 1, 1, 2]]
    assert value("agreement", outputs, torch.tensor([1, 0, 0, 0]), dense) == 0.75


def test_psnr_is_the_quality_of_the_task(problem_of: GetProblem) -> None:
    evaluator = problem_of("autoencoder").evaluator
    arguments = evaluator.dense_outputs, evaluator.inputs, evaluator.targets
    assert METRICS["psnr_db"].measure(
        *arguments, evaluator.dense_outputs
    ) == evaluator.task.quality(*arguments)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_metric_is_refused_where_it_does_not_fit(name: str) -> None:
    fits, other = Classification(), Reconstruction()
    if METRICS[name].task == other.name:
        fits, other = other, fits  # type: ignore[assignment]
    assert metric_named(name, fits).name == name
    with pytest.raises(MetricError, match=f"{name} is a metric of .* type one of: "):
        metric_named(name, other)


def test_an_unknown_metric_is_named_with_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'worst_recall'"):
        metric_named("worst_recal")
