"""The standard recipe."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from rlprune.config import RecipeSettings
from rlprune.data.registry import load_data
from rlprune.evaluate.evaluator import measure_quality
from rlprune.evaluate.tasks import Classification, Reconstruction
from rlprune.graph.trace import trace
from rlprune.models.registry import load_model
from rlprune.recipes.finetune import LONG, finetune, schedule_for, steps_of
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem

DATA = load_data("digits")
DENSE = load_model("plain_cnn", DATA).module


def pruned() -> torch.nn.Module:
    graph = trace(DENSE, DATA.search.tensors(2)[0])
    return Plan.uniform(graph, kept=0.5).apply(DENSE)


def test_it_recovers_accuracy_and_leaves_the_teacher_alone() -> None:
    before = copy.deepcopy(DENSE.state_dict())
    small = pruned()
    damaged = measure_quality(small, DATA.validation, Classification())
    settings = RecipeSettings()
    finetune(small, DENSE, DATA, Classification(), settings, steps=steps_of(8, DATA, settings))
    assert measure_quality(small, DATA.validation, Classification()) > max(0.9, damaged + 0.1)
    assert all(torch.equal(value, before[name]) for name, value in DENSE.state_dict().items())
    assert not any(module.training for module in small.modules())


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second, other = pruned(), pruned(), pruned()
    for model, seed in ((first, 0), (second, 0), (other, 1)):
        finetune(model, DENSE, DATA, Classification(), RecipeSettings(), steps=3, seed=seed)
    states = [model.state_dict() for model in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_frozen_parameters_are_trained_too() -> None:
    small = pruned().requires_grad_(False)
    before = copy.deepcopy(small.state_dict())
    finetune(small, DENSE, DATA, Classification(), RecipeSettings(), steps=2)
    assert any(not torch.equal(before[name], p) for name, p in small.named_parameters())


def test_a_reconstruction_is_recovered_too() -> None:
    dense = load_model("autoencoder", DATA).module
    graph = trace(dense, DATA.search.tensors(2)[0])
    small = Plan.uniform(graph, kept=0.5).apply(dense)
    damaged = measure_quality(small, DATA.validation, Reconstruction())
    finetune(small, dense, DATA, Reconstruction(), RecipeSettings(), steps=40)
    assert measure_quality(small, DATA.validation, Reconstruction()) > damaged + 3.0


@pytest.mark.parametrize("steps", [10, 20])
def test_a_few_steps_add_to_what_least_squares_have_repaired(
    steps: int, problem_of: GetProblem
) -> None:
    problem = problem_of("mobilenetv2")
    evaluator, validation = problem.evaluator, problem.data.validation
    small = evaluator.repaired(Plan.uniform(problem.graph, 0.35))
    repaired = evaluator.validate(small, validation)
    finetune(small, evaluator.model, DATA, evaluator.task, RecipeSettings(), steps=steps)
    assert evaluator.validate(small, validation) > repaired + 0.03


@pytest.mark.parametrize(("steps", "share"), [(15, 0.25), (60, 0.5), (LONG, 1.0), (4 * LONG, 1.0)])
def test_the_peak_of_the_learning_rate_falls_with_the_root_of_the_steps(
    steps: int, share: float
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    schedule = schedule_for(optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(share * 0.4, rel=0.02)
    assert rates[-1] < 0.01 * rates[0] < rates[0] < max(rates)
