"""One pass scores as two do; stopping early changes no winner; memory may run out."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rlprune.agents.base import best_of
from rlprune.config import EvaluationSettings
from rlprune.evaluate.scoring import INFEASIBLE, Scorer
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace
from rlprune.models.registry import BUILTIN_NAMES
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem
from tests.oracles import random_plan


def scorer_of(problem: Problem, model: nn.Module | None = None, **changed: object) -> Scorer:
    evaluator = problem.evaluator
    return Scorer(
        model or evaluator.model,
        evaluator.graph,
        evaluator.inputs,
        evaluator.targets,
        evaluator.task,
        EvaluationSettings(**{"score": "kl", "precision": "float32", **changed}),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_one_shared_pass_over_one_batch_scores_as_two_passes_do(
    name: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name)
    plans = [Plan.uniform(problem.graph, 0.5), *(random_plan(problem.graph, s) for s in range(2))]
    shared, separate = (scorer_of(problem, passes=p) for p in ("shared", "separate"))
    assert (shared.passes, separate.passes) == (1, 2)
    for one, two in zip(shared.score(plans), separate.score(plans), strict=True):
        # BatchNorm divides by n in a batch and by n - 1 in its statistics, nothing else differs.
        assert one.score == pytest.approx(two.score, rel=0.02, abs=1e-5)
        assert one.quality == pytest.approx(two.quality, abs=0.01 * max(1.0, abs(two.quality)))


def test_a_pass_runs_the_network_once_over_every_sample(fresh_plain: Problem) -> None:
    scorer = scorer_of(fresh_plain, batch_size=50)
    seen: list[int] = []
    run = scorer._run

    def counting(model: nn.Module, batch: Tensor) -> Tensor:
        seen.append(len(batch))
        return run(model, batch)

    vars(scorer)["_run"] = counting
    scorer.score([random_plan(fresh_plain.graph, 1)])
    assert sum(seen) == len(fresh_plain.evaluator.inputs)
    assert max(seen) <= 50


def test_scores_do_not_depend_on_what_was_scored_before(plain: Problem) -> None:
    scorer = scorer_of(plain)
    plans = [random_plan(plain.graph, seed) for seed in range(4)]
    forwards, backwards = scorer.score(plans), scorer.score(plans[::-1])
    assert forwards == backwards[::-1]


def test_a_scorer_that_travels_scores_the_same(plain: Problem) -> None:
    scorer, plans = scorer_of(plain), [random_plan(plain.graph, seed) for seed in range(3)]
    expected = scorer.score(plans)
    assert pickle.loads(pickle.dumps(scorer)).score(plans) == expected  # noqa: S301


def test_lower_precision_ranks_almost_the_same(plain: Problem) -> None:
    plans = [random_plan(plain.graph, seed) for seed in range(8)]
    exact = [s.score for s in scorer_of(plain).score(plans)]
    rough = [s.score for s in scorer_of(plain, precision="bfloat16").score(plans)]
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.1, abs=0.02)


# Early stopping


def test_stopping_early_gives_a_bound_that_exceeds_the_limit(plain: Problem) -> None:
    scorer = scorer_of(plain, batch_size=20)
    for seed in range(5):
        plan = random_plan(plain.graph, seed)
        (whole,) = scorer.score([plan])
        for share in (0.1, 0.5, 0.9, 1.0, 1.5):
            (found,) = scorer.score([plan], at_most=share * whole.score)
            if found.is_bound:
                assert share * whole.score < found.score <= whole.score * (1 + 1e-5)
            else:
                assert found == whole
        assert scorer.score([plan], at_most=0.1 * whole.score)[0].is_bound
        assert not scorer.score([plan], at_most=1.01 * whole.score)[0].is_bound


def test_stopping_early_changes_neither_winner_nor_history(fresh_plain: Problem) -> None:
    problem = fresh_plain
    problem.evaluator.scorer = scorer_of(problem, batch_size=20)
    plans = [random_plan(problem.graph, seed) for seed in range(30)]
    patient = [score.score for score in problem.evaluator.scorer.score(plans)]
    found = best_of(problem, plans, len(plans), "test")
    assert found.plan == plans[patient.index(min(patient))]
    assert found.history == tuple(min(patient[: i + 1]) for i in range(len(plans)))
    assert problem.ledger.evaluations == len(set(plans))


def test_a_bound_is_not_kept(fresh_plain: Problem) -> None:
    problem, plan = fresh_plain, random_plan(fresh_plain.graph, 1)
    problem.evaluator.scorer = scorer_of(problem, batch_size=20)
    bound = problem.evaluator.evaluate(plan, at_most=0.0)
    whole = problem.evaluator.evaluate(plan)
    assert bound.is_bound
    assert not whole.is_bound
    assert whole.score > bound.score
    assert problem.ledger.cache_hits == 0


# Layout and memory


class Flat(nn.Module):
    """Needs its channels first: a view of the other layout is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Linear(8 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(x).view(len(x), -1))


def test_a_network_that_needs_its_channels_first_is_scored_that_way() -> None:
    torch.manual_seed(0)
    model, images = Flat().eval(), torch.randn(12, 3, 8, 8)
    graph = trace(model, images[:2])
    targets = torch.zeros(12, dtype=torch.int64)
    settings = EvaluationSettings(score="kl", precision="float32")
    scorer = Scorer(model, graph, images, targets, Classification(), settings)
    (score,) = scorer.score([Plan.uniform(graph, 0.5)])
    assert 0 < score.score < math.inf


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory"),
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_a_plan_whose_network_does_not_fit_into_memory_is_infeasible_and_the_search_goes_on(
    fresh_plain: Problem, error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = fresh_plain
    scorer = problem.evaluator.scorer
    assert isinstance(scorer, Scorer)
    plans = [random_plan(problem.graph, seed) for seed in range(3)]
    expected = scorer.score(plans)
    run, calls = scorer._run, []

    def failing_once(model: nn.Module, batch: Tensor) -> Tensor:
        calls.append(len(batch))
        if len(calls) == 2:
            raise error()
        return run(model, batch)

    monkeypatch.setattr(scorer, "_run", failing_once)
    found = problem.evaluator.evaluate_many(plans)
    assert [m.score for m in found] == [expected[0].score, INFEASIBLE.score, expected[2].score]
    assert best_of(problem, plans, 3, "test").plan != plans[1]


def test_any_other_error_of_a_forward_is_not_hidden(
    fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: nn.Module, batch: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(fresh_plain.evaluator.scorer, "_run", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        fresh_plain.evaluate(random_plan(fresh_plain.graph, 0))
