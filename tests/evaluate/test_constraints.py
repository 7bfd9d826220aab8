"""What constraints mean, and which are refused."""

from __future__ import annotations

import pytest

from rlprune.errors import ConstraintError, MetricError, RLPruneError, SplitError
from rlprune.evaluate.constraints import Constraint, Requirements
from rlprune.evaluate.metrics import METRICS
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem


def requirements(problem: Problem, *texts: str) -> Requirements:
    evaluator = problem.evaluator
    parsed = [Constraint.parse(text) for text in texts]
    return Requirements(parsed, evaluator.model, problem.data.validation, evaluator.task)


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("worst_recall>=0.8", 0.8),
        (" accuracy >= 1 ", 1.0),
        ("accuracy_drop<=0.01", 0.89),
        ("agreement_drop<=0", 0.9),
        ("psnr_db>=-3.5", -3.5),
        ("psnr_db_drop<=2", -1.1),
    ],
)
def test_a_bound_says_what_must_be_reached(text: str, least: float) -> None:
    constraint = Constraint.parse(text)
    assert constraint.least(0.9) == pytest.approx(least)
    assert Constraint.parse(str(constraint)) == constraint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accuracy", "METRIC>=VALUE"),
        ("accuracy=0.9", "METRIC>=VALUE"),
        ("accuracy>0.9", "METRIC>=VALUE"),
        ("accuracy<=0.9", "accuracy>=VALUE"),
        ("accuracy_drop>=0.1", "accuracy_drop<=VALUE"),
        ("acuracy>=0.9", "did you mean 'accuracy'"),
        ("acuracy_drop<=0.1", "did you mean 'accuracy'"),
        ("accuracy>=90", "in \\[0, 1\\]"),
        ("accuracy_drop<=-0.1", "in \\[0, 1\\]"),
        ("psnr_db_drop<=-1", "from 0"),
        ("accuracy>=nan", "in \\[0, 1\\]"),
        ("psnr_db>=inf", "a number"),
        ("accuracy>=much", "'much'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(RLPruneError, match=said):
        Constraint.parse(text)


def test_a_network_is_measured_on_the_validation_split(plain: Problem) -> None:
    names = [name for name, metric in METRICS.items() if metric.task == "classification"]
    checks = requirements(plain, *(f"{name}>=0.1" for name in names), "accuracy_drop<=0.02")
    evaluator = plain.evaluator
    small = evaluator.repaired(Plan.uniform(plain.graph, 0.5))
    found = {str(outcome.constraint): outcome for outcome in checks.check(small)}
    accuracy = evaluator.validate(small, plain.data.validation)
    assert found["accuracy>=0.1"].reached == accuracy
    dense = evaluator.validate(evaluator.model, plain.data.validation)
    assert found["accuracy_drop<=0.02"].least == pytest.approx(dense - 0.02)
    assert found["accuracy_drop<=0.02"].is_met == (accuracy >= dense - 0.02)
    assert found["agreement>=0.1"].dense == 1.0
    assert found["worst_recall>=0.1"].reached <= found["macro_recall>=0.1"].reached


def test_what_the_dense_network_does_not_reach_is_refused_with_what_it_does(
    plain: Problem,
) -> None:
    evaluator = plain.evaluator
    reached = evaluator.validate(evaluator.model, plain.data.validation)
    with pytest.raises(ConstraintError, match=f"dense network itself .* {reached:.4f}"):
        requirements(plain, "accuracy>=1")


def test_a_metric_of_another_task_is_refused(plain: Problem, problem_of: GetProblem) -> None:
    with pytest.raises(MetricError, match="psnr_db"):
        requirements(plain, "psnr_db>=10")
    with pytest.raises(MetricError, match="accuracy"):
        requirements(problem_of("autoencoder"), "accuracy>=0.1")


@pytest.mark.parametrize("role", ["train", "search", "test"])
def test_constraints_look_at_no_other_split(plain: Problem, role: str) -> None:
    evaluator = plain.evaluator
    with pytest.raises(SplitError, match=role):
        Requirements([], evaluator.model, getattr(plain.data, role), evaluator.task)
