"""A problem ties model, data and budget together and refuses what does not fit."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from rlprune.cost.budget import Budget
from rlprune.data.splits import DataSplits
from rlprune.errors import BudgetError, ModelError, RLPruneError, UnknownNameError
from rlprune.models.registry import LoadedModel
from rlprune.problem import Problem, resolve_device
from tests import nets
from tests.oracles import assert_same_tensors
from tests.transformer import transformer


def test_a_module_of_the_users_own_becomes_a_problem_under_its_class_name(
    digits: DataSplits,
) -> None:
    network = nets.build("ghost").train()
    before = copy.deepcopy(network)
    problem = Problem.build(network, digits, "macs=0.5", measure_latency=False)
    assert problem.name == "Ghost"
    assert problem.recipe is None
    assert problem.reference.plan.widths[0] % 2 == 0
    assert_same_tensors(network, before)


def test_a_name_is_enough(digits: DataSplits) -> None:
    problem = Problem.build("mlp", "digits", "macs=0.5", measure_latency=False)
    assert problem.name == "mlp"
    assert problem.recipe is not None
    assert problem.recipe["model"] == "mlp"


def test_another_budget_shares_the_profile(fresh_plain: Problem) -> None:
    sensitivity = fresh_plain.sensitivity
    other = fresh_plain.with_budget(Budget.parse("macs=0.3"))
    assert other.sensitivity is sensitivity
    assert other.reference.measurement.macs < fresh_plain.reference.measurement.macs
    assert str(fresh_plain.budget) == "macs=0.5"


def test_a_budget_out_of_reach_is_refused_before_anything_is_evaluated(
    plain: Problem, digits: DataSplits
) -> None:
    with pytest.raises(BudgetError, match="cannot be reached"):
        Problem.build(plain.evaluator.model, digits, "macs=0.0001", measure_latency=False)
    with pytest.raises(BudgetError, match="cannot be reached"):
        plain.with_budget(Budget.parse("macs=0.0001"))


def test_a_model_with_nothing_to_prune_is_refused_with_the_reason(digits: DataSplits) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(BudgetError, match="nothing in this model can be pruned .*output"):
        Problem.build(network, digits, measure_latency=False)


def test_a_model_for_other_images_is_refused(digits: DataSplits) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(100, 32), nn.Linear(32, 10))
    with pytest.raises(ModelError, match="does not run on an input of shape"):
        Problem.build(network, digits, measure_latency=False)


def test_a_model_with_too_few_outputs_is_refused(digits: DataSplits) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 5))
    with pytest.raises(ModelError, match="expected logits"):
        Problem.build(network, digits, measure_latency=False)


def test_layers_that_the_user_keeps_are_left_out_with_the_reason(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    def build(*keep: str) -> Problem:
        return Problem.build(loaded("resnet20"), digits, measure_latency=False, keep=keep)

    left_out = {item.name: item.reason for item in build("blocks.[12]").graph.left_out}
    kept = {name for name, reason in left_out.items() if reason == "kept by the user (blocks.[12])"}
    assert {"blocks.1.conv1", "blocks.1 (block)", "blocks.2 (block)"} <= kept
    assert "blocks.0.conv1" not in left_out
    with pytest.raises(UnknownNameError, match="did you mean 'blocks.1'"):
        build("block.1")


def test_the_width_of_a_transformer_is_pruned_only_when_asked_for(digits: DataSplits) -> None:
    def names(*, residual_width: bool) -> tuple[str, ...]:
        problem = Problem.build(
            transformer(), digits, measure_latency=False, residual_width=residual_width
        )
        return problem.graph.names

    assert "embed" not in names(residual_width=False)
    assert "embed" in names(residual_width=True)


def test_latency_is_part_of_a_problem_unless_it_is_turned_off(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    assert Problem.build(loaded("mlp"), digits).evaluator.measures_latency
    off = Problem.build(loaded("mlp"), digits, measure_latency=False)
    assert not off.evaluator.measures_latency


def test_devices_are_resolved_or_refused_with_a_hint() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda")
    with pytest.raises(RLPruneError, match="use cpu or auto"):
        resolve_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(RLPruneError, match="'cuda' is not available here"):
            resolve_device("cuda")
