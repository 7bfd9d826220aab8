"""Least squares bring every layer back to what the dense one computes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlprune.evaluate.evaluator import measure_quality
from rlprune.evaluate.least_squares import LeastSquares
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.regression import RIDGE
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import build_model
from rlprune.surgery.plan import Plan
from tests.conftest import GetProblem
from tests.oracles import assert_same_tensors


def bias_free() -> tuple[nn.Sequential, GroupGraph]:
    torch.manual_seed(0)
    layers = [nn.Linear(5, 12, bias=False), nn.ReLU6(), nn.Linear(12, 8, bias=False), nn.ReLU6()]
    model = nn.Sequential(*layers, nn.Linear(8, 3, bias=False)).eval()
    return model, trace(model, torch.randn(2, 5))


@pytest.mark.parametrize("samples", [4, 40])  # fewer than inputs, and more
def test_every_layer_becomes_the_ridge_regression_of_what_the_dense_one_computes(
    samples: int,
) -> None:
    model, graph = bias_free()
    plan, x = Plan.uniform(graph, 0.5), torch.randn(samples, 5)
    small, before = plan.apply(model), plan.apply(model)
    LeastSquares(model, x)(small, graph.kept_outputs(plan.kept))
    kept = graph.kept_positions(plan.kept)
    read, aim = x.double().numpy(), x
    for i in (0, 2, 4):
        aim = model[i](aim)
        y = aim.detach().double().numpy()[:, kept[f"{i}.weight"].get(0, slice(None))]
        old = before.get_parameter(f"{i}.weight").detach().double().numpy()
        moments = read.T @ read
        ridge = RIDGE * np.trace(moments) / len(moments) * np.eye(len(moments))
        fitted = np.linalg.solve(moments + ridge, read.T @ y + ridge @ old.T)
        weight = small.get_parameter(f"{i}.weight").detach().double().numpy()
        assert weight == pytest.approx(fitted.T, rel=1e-3, abs=1e-4)
        read, aim = np.clip(read @ weight.T, 0, 6), nn.functional.relu6(aim)


def test_a_channel_that_others_replace_exactly_is_not_missed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3)).eval()
    with torch.no_grad():
        model[0].weight[3] = 2 * model[0].weight[0]
        model[0].bias[3] = 2 * model[0].bias[0]
    x = torch.randn(20, 2, 12, 12)
    graph = trace(model, x[:2])
    (group,) = graph.groups
    plan = Plan({group.name: [0, 1, 2]}, graph)
    small = plan.apply(model)
    lost = (small(x) - model(x)).square().mean()
    LeastSquares(model, x)(small, graph.kept_outputs(plan.kept))
    assert (small(x) - model(x)).square().mean() < 1e-3 * lost


@pytest.mark.parametrize("network", ["mlp", "plain_cnn", "resnet20", "mobilenetv2", "densenet"])
def test_the_repaired_network_is_better_than_the_recalibrated_one(
    network: str, problem_of: GetProblem
) -> None:
    problem = problem_of(network)
    evaluator, test = problem.evaluator, problem.data.test
    for kept in (0.7, 0.4):
        plan = Plan.uniform(problem.graph, kept)
        recalibrated = plan.apply(evaluator.model)
        recalibrate(recalibrated, evaluator.inputs)
        before = measure_quality(recalibrated, test, evaluator.task)
        after = measure_quality(evaluator.repaired(plan), test, evaluator.task)
        assert after > min(before, 0.95)


Order = tuple[bool, bool]


def memory_orders(model: nn.Module, images: Tensor) -> dict[str, Order]:
    """Return whether what each convolution computes is contiguous, and channels-last."""
    found: dict[str, Order] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            last = output.is_contiguous(memory_format=torch.channels_last)
            found[name] = output.is_contiguous(), last

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note(name))
    model(images)
    return found


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("network", ["plain_cnn", "resnet20", "mobilenetv2", "densenet"])
def test_the_repaired_network_computes_in_the_memory_order_of_the_dense_one(
    network: str, order: torch.memory_format
) -> None:
    # Latencies of both are compared, and channels-last ones can be half of the others.
    torch.manual_seed(0)
    model = build_model(network, in_channels=1, num_classes=10, image_size=16)
    model = model.eval().to(memory_format=order)
    images = torch.randn(16, 1, 16, 16).to(memory_format=order)
    graph = trace(model, images[:2])
    plan = Plan.uniform(graph, 0.5)
    small = plan.apply(model)
    LeastSquares(model, images)(small, graph.kept_outputs(plan.kept))
    assert memory_orders(small, images) == memory_orders(model, images)


class Special(nn.Module):
    """Layers that are left as they are: grouped, padded with reflections, and used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.reflected = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.twice = nn.Conv2d(8, 8, 1)
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reflected(self.grouped(self.wide(x)).relu()).relu()
        x = self.twice(self.twice(x).relu()).relu()
        return self.head(x).mean((2, 3))


def test_layers_that_cannot_be_fitted_stay_as_they_are() -> None:
    torch.manual_seed(0)
    model, x = Special().eval(), torch.randn(8, 3, 8, 8)
    graph = trace(model, x[:2])
    plan = Plan.uniform(graph, 0.5)
    small = plan.apply(model)
    before = copy.deepcopy(small)
    LeastSquares(model, x)(small, graph.kept_outputs(plan.kept))
    for name in ("grouped", "reflected", "twice"):
        assert_same_tensors(small.get_submodule(name), before.get_submodule(name))
    assert not torch.equal(small.head.weight, before.head.weight)


def test_a_network_whose_activations_overflow_keeps_its_weights() -> None:
    model, graph = bias_free()
    plan = Plan.uniform(graph, 0.5)
    small, before = plan.apply(model), plan.apply(model)
    LeastSquares(model, torch.full((8, 5), 1e30))(small, graph.kept_outputs(plan.kept))
    assert_same_tensors(small[0], before[0])
    assert all(parameter.isfinite().all() for parameter in small.parameters())


def test_the_same_plan_is_repaired_alike_and_the_dense_network_stays(
    problem_of: GetProblem,
) -> None:
    evaluator = problem_of("plain_cnn").evaluator
    dense = copy.deepcopy(evaluator.model)
    plan = Plan.uniform(evaluator.graph, 0.5)
    first, second = evaluator.repaired(plan), evaluator.repaired(plan)
    assert_same_tensors(first, second)
    assert_same_tensors(evaluator.model, dense)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 5), "padding": (0, 2), "stride": (2, 1)},
        {"kernel_size": 3, "dilation": 2, "stride": 2},
    ],
)
def test_a_convolution_is_fitted_to_what_it_reads(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 3, **settings)
    model = nn.Sequential(first, second).eval()  # linear: what is left of two inputs suffices
    x = torch.randn(32, 2, 9, 9)
    graph = trace(model, x[:2])
    plan = Plan({graph.groups[0].name: [0, 1, 2]}, graph)
    small = plan.apply(model)
    lost = (small(x) - model(x)).square().mean()
    LeastSquares(model, x)(small, graph.kept_outputs(plan.kept))
    assert (small(x) - model(x)).square().mean() < 1e-2 * lost
