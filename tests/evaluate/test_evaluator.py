"""What an evaluation costs, counts and touches."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import TensorDataset

from rlprune.agents import RandomSearchAgent
from rlprune.config import EvaluationSettings
from rlprune.data.splits import DataSplits, Split
from rlprune.errors import SplitError
from rlprune.evaluate.batches import MOST_SAMPLES, forward
from rlprune.evaluate.evaluator import Evaluator
from rlprune.evaluate.least_squares import LeastSquares
from rlprune.evaluate.ledger import Ledger
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.search_score.repaired import ROWS, SAMPLES
from rlprune.models.registry import BUILTIN_NAMES, LoadedModel
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests import nets
from tests.conftest import GetProblem
from tests.oracles import assert_same_tensors, counted_macs, counted_params, outputs, random_plan


class PerChannel:
    """Charges every kept channel the same and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def kept(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        self.asked.append(np.asarray(widths).tolist())
        return np.asarray(widths, dtype=np.float64).sum(-1)


def charged(problem: Problem, latency: PerChannel | None) -> Evaluator:
    return Evaluator(
        problem.evaluator.model,
        problem.graph,
        problem.data,
        latency=latency,
        seed=0,
        device=torch.device("cpu"),
        settings=EvaluationSettings(images=64),
    )


@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_the_dense_plan_scores_almost_nothing_and_costs_what_the_network_costs(
    name: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name)
    whole = problem.evaluate(Plan({}, problem.graph))
    # Not exactly 0: BatchNorm statistics are re-estimated on the search images.
    half = problem.evaluate(Plan.uniform(problem.graph, 0.5))
    assert 0 <= whole.score < 0.25 * half.score
    assert whole.macs == counted_macs(problem.evaluator.model, problem.data.input_shape)
    assert whole.params == counted_params(problem.evaluator.model)
    assert whole.latency_kept is None


@pytest.mark.parametrize("score", ["kl", "repaired"])
def test_a_measurement_is_what_the_small_model_does_on_the_search_images(
    score: str, plain: Problem
) -> None:
    evaluator, plan = plain.evaluator, random_plan(plain.graph, 4)
    settings = EvaluationSettings(score=score, precision="float32")
    plain = Problem.build(evaluator.model, plain.data, evaluation=settings, measure_latency=False)
    measured = plain.evaluate(plan)
    small = plan.apply(evaluator.model)
    if score == "repaired":
        LeastSquares(evaluator.model, plain.data.train.tensors(SAMPLES)[0], ROWS)(
            small, plain.graph.kept_outputs(plan.kept)
        )
    recalibrate(small, evaluator.inputs)
    ours, dense = (outputs(m, evaluator.inputs) for m in (small, evaluator.model))
    p, q = dense.double().softmax(1), ours.double().softmax(1)
    assert measured.score == pytest.approx(float((p * (p / q).log()).sum(1).mean()), rel=1e-3)
    images, targets = plain.data.search.tensors()
    accuracy = float((outputs(small, images).argmax(1) == targets).float().mean())
    assert len(evaluator.inputs) == len(images)  # all 215 of digits: the order does not matter
    assert measured.quality == pytest.approx(accuracy, abs=1.01 / len(images))  # at most one tie
    assert (measured.macs, measured.params) == (
        counted_macs(small, plain.data.input_shape),
        counted_params(small),
    )


def test_the_ledger_counts_distinct_plans_and_cache_hits(fresh_plain: Problem) -> None:
    problem = fresh_plain
    plans = [random_plan(problem.graph, seed) for seed in (1, 2, 1, 3, 2, 1)]
    measured = [problem.evaluate(plan) for plan in plans]
    assert problem.ledger == Ledger(evaluations=3, profile_evaluations=0, cache_hits=3)
    assert measured[0] is measured[2] is measured[5]
    problem.evaluator.evaluate(random_plan(problem.graph, 9), profile=True)
    assert problem.ledger == Ledger(evaluations=3, profile_evaluations=1, cache_hits=3)


def test_ledgers_add_up_and_subtract() -> None:
    assert Ledger.total([Ledger(1, 2, 3), Ledger(10, 20, 30)]) == Ledger(11, 22, 33)
    assert Ledger(5, 7, 9).since(Ledger(1, 2, 3)) == Ledger(4, 5, 6)


def test_budgets_share_cache_and_ledger(fresh_plain: Problem) -> None:
    from rlprune.cost.budget import Budget

    other = fresh_plain.with_budget(Budget.parse("macs=0.3"))
    plan = random_plan(fresh_plain.graph, 1)
    fresh_plain.evaluate(plan)
    other.evaluate(plan)
    assert other.ledger is fresh_plain.ledger
    assert fresh_plain.ledger == Ledger(1, 0, 1)


def test_uses_is_a_copy_that_does_not_move(fresh_plain: Problem) -> None:
    before = fresh_plain.uses()
    fresh_plain.evaluate(random_plan(fresh_plain.graph, 1))
    assert before == Ledger()
    assert fresh_plain.ledger.since(before) == Ledger(1, 0, 0)


def test_evaluating_changes_nothing_in_the_dense_model(plain: Problem) -> None:
    before = copy.deepcopy(plain.evaluator.model)
    plain.evaluator.repaired(random_plan(plain.graph, 11))
    plain.evaluate(random_plan(plain.graph, 12))
    assert_same_tensors(plain.evaluator.model, before)
    assert not plain.evaluator.model.training


def test_the_seed_chooses_the_search_images(digits: DataSplits, plain: Problem) -> None:
    def images(seed: int) -> torch.Tensor:
        problem = Problem.build(
            plain.evaluator.model,
            digits,
            evaluation=EvaluationSettings(images=32),
            seed=seed,
            measure_latency=False,
        )
        return problem.evaluator.inputs

    assert images(0).shape == (32, 1, 8, 8)
    assert torch.equal(images(0), images(0))
    assert not torch.equal(images(0), images(1))


def test_keyword_inputs_and_named_outputs_run_in_batches_like_any_other() -> None:
    network, count = nets.build("gated"), MOST_SAMPLES + 3
    inputs = {"scale": torch.full((count, 1), 2.0), "image": nets.images(count)}
    found = forward(nets.Keywords(network), inputs)
    assert torch.equal(found, 2 * forward(network, inputs["image"]))
    assert len(found) == count


# Splits


def poisoned(split: Split, spared: int = 0) -> Split:
    """Replace all images but the first few."""
    images, targets = (tensor.clone() for tensor in split.tensors())
    images[spared:], targets[spared:] = float("nan"), 0
    return Split(split.role, TensorDataset(images, targets))  # type: ignore[arg-type]


def test_a_search_never_looks_at_training_targets_nor_at_validation_or_test_data(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    images, targets = digits.train.tensors()
    bad = dataclasses.replace(
        digits,
        train=Split("train", TensorDataset(images, 9 - targets)),
        validation=poisoned(digits.validation),
        test=poisoned(digits.test),
    )
    found = []
    for data in (digits, bad):
        problem = Problem.build(loaded("plain_cnn"), data, "macs=0.4", measure_latency=False)
        proposal = RandomSearchAgent().propose(problem, 8)
        found.append((problem.sensitivity.scores.tolist(), problem.reference, proposal))
    (clean_scores, clean_reference, clean), (scores, reference, dirty) = found
    assert clean_scores == scores
    assert all(score == score and score < float("inf") for score in scores)
    assert clean_reference.measurement == reference.measurement
    assert clean.plan == dirty.plan
    assert clean.history == dirty.history


def test_the_search_split_does_matter(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    bad = dataclasses.replace(digits, search=poisoned(digits.search, spared=2))  # for the trace
    problem = Problem.build(loaded("plain_cnn"), bad, "macs=0.4", measure_latency=False)
    assert problem.evaluate(Plan.uniform(problem.graph, 0.5)).score == float("inf")


@pytest.mark.parametrize("role", ["train", "validation", "test"])
def test_no_other_split_is_taken_for_the_search_split(
    digits: DataSplits, plain: Problem, role: str
) -> None:
    swapped = dataclasses.replace(digits, search=getattr(digits, role))
    with pytest.raises(SplitError, match=f"may not use the {role} split here"):
        Problem.build(plain.evaluator.model, swapped, measure_latency=False)


@pytest.mark.parametrize("role", ["train", "search", "test"])
def test_validation_takes_the_validation_split_only(
    digits: DataSplits, plain: Problem, role: str
) -> None:
    evaluator = plain.evaluator
    assert 0.9 < evaluator.validate(evaluator.model, digits.validation) <= 1.0
    with pytest.raises(SplitError, match="uses the validation split"):
        evaluator.validate(evaluator.model, getattr(digits, role))


# Latency


def test_a_measurement_holds_what_the_provider_charges_and_the_provider_is_asked_once(
    plain: Problem,
) -> None:
    latency = PerChannel()
    evaluator, plan = charged(plain, latency), random_plan(plain.graph, 1)
    assert evaluator.evaluate(plan).latency_kept == plan.widths.sum()
    assert evaluator.evaluate(plan).latency_kept == plan.widths.sum()
    assert latency.asked == [plan.widths.tolist()]


def test_without_a_provider_no_latency_is_recorded(plain: Problem) -> None:
    assert charged(plain, None).evaluate(random_plan(plain.graph, 1)).latency_kept is None


@pytest.mark.parametrize(
    ("name", "task"), [("plain_cnn", "classification"), ("autoencoder", "reconstruction")]
)
def test_the_task_follows_from_the_network(name: str, task: str, problem_of: GetProblem) -> None:
    assert problem_of(name).evaluator.task.name == task
