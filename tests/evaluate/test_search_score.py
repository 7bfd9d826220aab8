"""Every search score is a positive loss that leaves no trace; each one against an oracle."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlprune.agents import RandomSearchAgent
from rlprune.config import EvaluationSettings
from rlprune.data.splits import DataSplits, Split
from rlprune.errors import UnknownNameError
from rlprune.evaluate.batches import forward
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.scoring import Scorer
from rlprune.evaluate.search_score.base import Candidate, Scene
from rlprune.evaluate.search_score.capacity import Bottleneck, GradientNorm, Params, Synflow
from rlprune.evaluate.search_score.distilled import BATCH, Distilled, training_samples
from rlprune.evaluate.search_score.learned import BASES, Learned, log_features
from rlprune.evaluate.search_score.registry import SEARCH_SCORES, search_score_named
from rlprune.evaluate.search_score.repaired import SAMPLES, repair
from rlprune.evaluate.tasks import Classification
from rlprune.evaluate.workers import workers_for
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem
from tests.oracles import random_plan

QUICK = [name for name in SEARCH_SCORES if name not in ("distilled-50", "distilled-200")]
NETWORKS = ("plain_cnn", "resnet20", "mobilenetv2", "mlp", "autoencoder")


def scorer_of(problem: Problem, name: str, images: int = 128, **changed: object) -> Scorer:
    evaluator = problem.evaluator
    settings = EvaluationSettings(**{"precision": "float32", "score": name, **changed})  # type: ignore[arg-type]
    inputs = evaluator.inputs
    assert isinstance(inputs, Tensor)
    training = problem.data.train.tensors(SEARCH_SCORES[name].training_samples)
    targets = evaluator.targets[:images]
    scene = (inputs[:images], targets, evaluator.task, settings, training)
    return Scorer(evaluator.model, evaluator.graph, *scene)


def scene_of(problem: Problem) -> Scene:
    evaluator = problem.evaluator
    inputs = evaluator.inputs
    assert isinstance(inputs, Tensor)
    training = problem.data.train.tensors(training_samples(10))
    sample = ([inputs[:200], inputs[200:]], evaluator.targets, training)
    return Scene(evaluator.model, evaluator.graph, evaluator.task, *sample)


def candidate(plan: Plan) -> Candidate:
    return Candidate(plan, divergence=1.0, quality=0.5)


# Contracts


@pytest.mark.parametrize(
    ("name", "network"),
    [
        pytest.param(name, network, marks=[pytest.mark.slow] * (name == "distilled-10"))
        for name in QUICK
        for network in NETWORKS
    ],
)
def test_a_score_is_positive_and_depends_on_nothing_but_the_plan(
    name: str, network: str, problem_of: GetProblem
) -> None:
    problem = problem_of(network)
    plans = [random_plan(problem.graph, seed) for seed in range(2)]
    scorer = scorer_of(problem, name)
    forwards = scorer.score(plans)
    assert all(0 < found.score < math.inf for found in forwards)
    assert scorer.score(plans[::-1]) == forwards[::-1]
    assert scorer_of(problem, name).score(plans[1:]) == forwards[1:]


@pytest.mark.parametrize("name", QUICK)
def test_a_score_leaves_the_dense_network_as_it_was(name: str, problem_of: GetProblem) -> None:
    problem = problem_of("resnet20")
    model = problem.evaluator.model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    scorer_of(problem, name).score([random_plan(problem.graph, 0)])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", QUICK)
def test_a_score_travels_to_another_process(name: str, plain: Problem) -> None:
    scorer, plans = scorer_of(plain, name), [random_plan(plain.graph, 1)]
    before = pickle.loads(pickle.dumps(scorer)).score(plans)  # noqa: S301
    assert scorer.score(plans) == before
    assert pickle.loads(pickle.dumps(scorer)).score(plans) == before  # noqa: S301


@pytest.mark.parametrize("name", QUICK)
def test_only_means_over_samples_are_bounded_early(name: str, plain: Problem) -> None:
    plan = random_plan(plain.graph, 1)
    (found,) = scorer_of(plain, name, batch_size=20).score([plan], at_most=1e-9)
    assert found.is_bound == (name in ("raw", "kl", "repaired"))


@pytest.mark.slow
def test_two_processes_learn_the_same(
    digits: DataSplits, loaded: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlprune.machine.cores", lambda: 2)
    evaluation = EvaluationSettings(score="distilled-10", precision="float32", images=128)
    build = (loaded("plain_cnn"), digits, "macs=0.3")
    problem = Problem.build(*build, evaluation=evaluation, measure_latency=False)
    here = RandomSearchAgent(0).propose(problem, 4)
    other = problem.fresh()
    with workers_for([other.evaluator], 2):
        there = RandomSearchAgent(0).propose(other, 4)
    assert (here.plan, here.history) == (there.plan, there.history)
    assert problem.evaluate(here.plan).quality > 0.5


def test_an_unknown_score_is_refused_with_the_closest(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    with pytest.raises(UnknownNameError, match=r"'distiled-10'; did you mean 'distilled-10'"):
        search_score_named("distiled-10")
    evaluation = EvaluationSettings(score="KL")
    with pytest.raises(UnknownNameError, match="unknown search score"):
        Problem.build(loaded("mlp"), digits, evaluation=evaluation, measure_latency=False)


class Unreadable:
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raise AssertionError("a search read a split that it may not see")


@pytest.mark.parametrize("name", ["kl", "repaired", "distilled-10"])
def test_only_scores_that_learn_read_the_train_split_and_none_the_test_split(
    name: str, digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    hidden = Split("test", Unreadable())  # type: ignore[arg-type]
    data = replace(digits, test=hidden, validation=replace(hidden, role="validation"))
    if not SEARCH_SCORES[name].training_samples:
        data = replace(data, train=replace(hidden, role="train"))
    evaluation = EvaluationSettings(score=name, precision="float32", images=64)
    problem = Problem.build(loaded("mlp"), data, evaluation=evaluation, measure_latency=False)
    assert problem.evaluate(random_plan(problem.graph, 0)).score > 0


# Scores of outputs


def test_raw_scores_the_network_as_it_was_cut_and_kl_with_new_statistics(plain: Problem) -> None:
    evaluator, plan = plain.evaluator, random_plan(plain.graph, 3)
    inputs = evaluator.inputs
    assert isinstance(inputs, Tensor)
    dense = forward(evaluator.model, inputs[:128])
    small = plan.apply(evaluator.model)
    for name in ("raw", "kl"):
        expected = evaluator.task.divergence(forward(small, inputs[:128]), dense)
        (found,) = scorer_of(plain, name, passes="separate").score([plan])
        assert found.score == pytest.approx(float(expected), rel=1e-4)
        recalibrate(small, inputs[:128])
    (error,) = scorer_of(plain, "accuracy", passes="separate").score([plan])
    assert (error.score, error.quality) == (pytest.approx(1 - found.quality), found.quality)


def test_no_wrong_prediction_still_is_a_positive_loss(plain: Problem) -> None:
    scorer = scorer_of(plain, "accuracy", images=16)
    (found,) = scorer.score([Plan({}, plain.graph)])
    assert found.quality == 1.0
    assert found.score == pytest.approx(0.5 / 16)


def test_the_error_of_a_reconstruction_falls_by_ten_every_ten_decibels(
    problem_of: GetProblem,
) -> None:
    problem = problem_of("autoencoder")
    (found,) = scorer_of(problem, "accuracy").score([random_plan(problem.graph, 0)])
    assert -10 * math.log10(found.score) == pytest.approx(found.quality)


# Scores of capacity


@pytest.mark.parametrize("kind", [Params, Bottleneck, GradientNorm, Synflow])
def test_a_network_that_loses_nothing_has_a_capacity_of_one(
    kind: Callable[[Scene], Callable[[Candidate], float]], problem_of: GetProblem
) -> None:
    problem = problem_of("mobilenetv2")
    loss = kind(scene_of(problem))
    assert loss(candidate(Plan({}, problem.graph))) == pytest.approx(1.0)
    assert loss(candidate(Plan.uniform(problem.graph, 0.5))) != pytest.approx(1.0)


def test_the_bottleneck_is_the_group_that_is_cut_most(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20")
    graph = problem.graph
    widths = graph.widths.copy()
    first = int(np.flatnonzero(~graph.is_block)[0])
    widths[first] //= 4
    widths[graph.is_block] = 0
    plan = Plan.from_widths(graph, widths)
    assert Bottleneck(scene_of(problem))(candidate(plan)) == pytest.approx(4.0)


def bias_free() -> tuple[nn.Sequential, Scene]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 12, bias=False), nn.ReLU6(), nn.Linear(12, 8, bias=False), nn.ReLU6()
    )
    model.append(nn.Linear(8, 3, bias=False)).eval()
    x, targets = torch.randn(40, 5), torch.randint(3, (40,))
    graph = trace(model, x[:2])
    return model, Scene(model, graph, Classification(), [x], targets, training=(2 * x, targets))


def test_synaptic_flow_is_the_sum_over_all_paths_of_the_product_of_weights() -> None:
    model, scene = bias_free()
    plan = Plan.uniform(scene.graph, 0.5)

    def paths(network: nn.Module) -> float:
        flow = torch.ones(5, dtype=torch.float64)
        for weight in network.parameters():
            flow = weight.detach().double().abs() @ flow
        return float(flow.sum())  # the same for every layer: flow is conserved

    expected = (paths(model) / paths(plan.apply(model))) ** (1 / 3)
    assert Synflow(scene)(candidate(plan)) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_norm_is_that_of_the_loss_on_the_pruned_network() -> None:
    model, scene = bias_free()
    plan = Plan.uniform(scene.graph, 0.5)

    def norms(network: nn.Module) -> float:
        loss = nn.functional.cross_entropy(network(scene.batches[0]), scene.targets)
        return sum(float(g.norm()) for g in torch.autograd.grad(loss, list(network.parameters())))

    expected = norms(model) / norms(plan.apply(model))
    assert GradientNorm(scene)(candidate(plan)) == pytest.approx(expected, rel=1e-5)


# Distillation


def test_all_plans_learn_from_the_same_batches_in_turn(
    plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(plain)
    repair = Distilled(scene, steps=25)
    seen: list[Tensor] = []
    loss = plain.evaluator.task.loss

    def recording(outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(inputs)
        return loss(outputs, inputs, targets)

    monkeypatch.setattr(plain.evaluator.task, "loss", recording)
    for seed in range(2):
        plan = random_plan(plain.graph, seed)
        repair(plan.apply(scene.model), plain.graph.kept_outputs(plan.kept))
    assert {len(batch) for batch in seen} == {BATCH}
    assert all(torch.equal(a, b) for a, b in zip(seen[:25], seen[25:], strict=True))
    assert torch.equal(seen[0], seen[10])  # ten batches, again and again


def test_more_steps_come_closer_to_the_dense_network(plain: Problem) -> None:
    plan = Plan.uniform(plain.graph, 0.4)
    kl, few, many = (
        scorer_of(plain, name).score([plan])[0] for name in ("kl", "distilled-10", "distilled-50")
    )
    assert kl.score > few.score > many.score
    assert kl.quality < few.quality < many.quality


# The learned correction


def test_a_learned_score_is_a_product_of_powers_of_what_a_plan_is(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20")
    graph = problem.graph
    widths = np.where(graph.is_block, 1, graph.widths // 2)
    widths[np.flatnonzero(graph.is_block)[:3]] = 0
    plan = Plan.from_widths(graph, widths)
    logs = log_features(graph, plan.widths, divergence=2.0)
    share = graph.params(plan) / graph.params() / (graph.macs(plan) / graph.macs())
    blocks = int(graph.is_block.sum())
    assert logs == pytest.approx(
        {
            "divergence": math.log(2),
            "params": math.log(share),
            "bottleneck": math.log(0.5),
            "depth": math.log((1 + blocks - 3) / (1 + blocks)),
        }
    )
    powers = {"divergence": 0.5, "params": 2.0}
    found = Learned(scene_of(problem), powers)(Candidate(plan, divergence=2.0, quality=0.5))
    assert found == pytest.approx(2**0.5 * share**2)


def test_a_network_that_loses_nothing_is_the_best_by_any_learned_score(plain: Problem) -> None:
    for name in BASES:
        plans = [Plan({}, plain.graph), Plan.uniform(plain.graph, 0.4)]
        whole, half = scorer_of(plain, name).score(plans)
        assert 0 < whole.score < half.score


@pytest.mark.parametrize(
    ("macs", "samples", "rows"), [(1e6, 128, 1024), (1e9, 16, 256), (250e6, 64, 512)]
)
def test_costly_networks_are_repaired_with_fewer_samples(
    macs: float, samples: int, rows: int, plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator, training = plain.evaluator, plain.data.train.tensors(SAMPLES)
    sample = ([evaluator.inputs], evaluator.targets, training)
    scene = Scene(evaluator.model, evaluator.graph, evaluator.task, *sample)  # type: ignore[arg-type]
    monkeypatch.setattr(type(evaluator.graph), "macs", lambda *_: int(macs))
    refit = repair(scene)
    assert refit._rows == rows
    assert len(refit._inputs) == samples
