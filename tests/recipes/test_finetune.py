"""The standard recipe."""

from __future__ import annotations

import copy

import torch

from rlprune.config import RecipeSettings
from rlprune.data.registry import load_data
from rlprune.evaluate.evaluator import measure_quality
from rlprune.evaluate.tasks import Classification, Reconstruction
from rlprune.graph.trace import trace
from rlprune.models.registry import load_model
from rlprune.recipes.finetune import finetune, steps_of
from rlprune.surgery.plan import Plan

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
