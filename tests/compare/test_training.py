"""The training that all networks of a comparison go through."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from rlprune.compare.training import Training, reinitialise, standard_steps, train_and_measure
from rlprune.config import RecipeSettings
from rlprune.data.splits import DataSplits
from rlprune.problem import Problem
from rlprune.recipes.teacher import RememberingTeacher
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem
from tests.oracles import assert_same_tensors

RECIPE = RecipeSettings()


def test_standard_steps_are_five_epochs_on_digits(digits: DataSplits) -> None:
    assert standard_steps(digits, RECIPE) == 5 * (len(digits.train) // RECIPE.batch_size)


def test_new_weights_know_nothing_of_the_old_ones(plain: Problem) -> None:
    plan = Plan.uniform(plain.graph, 0.5)
    old, new = (plan.apply(plain.evaluator.model) for _ in range(2))
    torch.manual_seed(0)
    reinitialise(new)
    for (name, before), after in zip(old.named_parameters(), new.parameters(), strict=True):
        assert before.shape == after.shape
        if before.ndim > 1:
            assert not torch.isclose(before, after).all(), name
            both = torch.stack([before.flatten(), after.flatten()]).detach()
            assert abs(float(torch.corrcoef(both)[0, 1])) < 0.4
    again = plan.apply(plain.evaluator.model)
    torch.manual_seed(0)
    reinitialise(again)
    assert_same_tensors(new, again)


def test_parameters_of_a_users_own_module_are_shuffled() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.arange(64.0).view(8, 8))

    model = Own()
    torch.manual_seed(0)
    reinitialise(model)
    assert not torch.equal(model.scale, torch.arange(64.0).view(8, 8))
    assert torch.equal(model.scale.detach().flatten().sort().values, torch.arange(64.0))


def test_training_is_the_same_each_time_and_leaves_everything_as_it_was(
    problem_of: GetProblem,
) -> None:
    problem = problem_of("mlp")
    before, state = copy.deepcopy(problem.evaluator.model), torch.get_rng_state()
    plan = Plan.uniform(problem.graph, 0.3)
    training = Training(RECIPE, steps=5, is_quick=False)
    first, second = (
        train_and_measure(problem, plan, training, seed=3, from_scratch=True) for _ in range(2)
    )
    assert (first.test, first.validation) == (second.test, second.validation)
    other = train_and_measure(problem, plan, training, seed=4, from_scratch=True)
    assert other.test != first.test
    assert_same_tensors(problem.evaluator.model, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("steps", "quick"), [(0, True), (5, False), (0, False)])
def test_only_what_is_asked_for_is_trained(steps: int, quick: bool, problem_of: GetProblem) -> None:
    problem = problem_of("mlp")
    training = Training(RECIPE, steps, quick)
    found = train_and_measure(problem, Plan.uniform(problem.graph, 0.3), training, 0).test
    assert (found.finetuned is not None) == (steps > 0)
    assert (found.after_50_steps is not None) == quick


def test_training_helps_and_pruned_weights_help_more_than_new_ones(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn")
    plan, training = Plan.uniform(problem.graph, 0.4), Training(RECIPE, 0)
    pruned = train_and_measure(problem, plan, training, 0).test
    scratch = train_and_measure(problem, plan, training, 0, from_scratch=True).test
    assert pruned.after_50_steps is not None
    assert scratch.after_50_steps is not None
    assert pruned.after_50_steps > pruned.repaired > scratch.repaired
    assert pruned.after_50_steps > scratch.after_50_steps


def test_a_teacher_that_remembers_changes_no_result(plain: Problem) -> None:
    training = Training(RECIPE, steps=6)
    teacher = RememberingTeacher(plain.evaluator.model)
    for kept in (0.5, 0.3):
        plan = Plan.uniform(plain.graph, kept)
        alone = train_and_measure(plain, plan, training, 1)
        taught = train_and_measure(plain, plan, training, 1, teacher=teacher)
        assert (alone.test, alone.validation) == (taught.test, taught.validation)
