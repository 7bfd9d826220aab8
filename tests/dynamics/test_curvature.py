from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.calling import Inputs
from rlprune.criteria.gradients import loss_at
from rlprune.dynamics.curvature import hessian_traces, sharpness
from rlprune.evaluate.tasks import Classification
from tests.dynamics.training import WEIGHTS, held_out, two_layers


def exact_traces(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, float]:
    """The trace of the full Hessian's block of each weight, over its size."""
    found = {}
    for name in WEIGHTS:
        weight = model.get_parameter(name).detach()

        def loss(values: Tensor, name: str = name) -> Tensor:
            outputs = torch.func.functional_call(model, {name: values}, (inputs,))
            return F.cross_entropy(outputs, targets)

        hessian = torch.autograd.functional.hessian(loss, weight)
        size = weight.numel()
        found[name] = float(hessian.reshape(size, size).trace()) / size
    return found


def test_the_estimated_traces_are_those_of_the_exact_hessian() -> None:
    model = two_layers(double=True).eval()
    on = held_out(model).probe
    batch = on.inputs, on.targets
    found = hessian_traces(on, WEIGHTS, batch, vectors=256)
    assert found is not None
    for name, trace in exact_traces(model, on.inputs, on.targets).items():
        assert found[name] == pytest.approx(trace, rel=0.1)


class Distances(Classification):
    """A loss that PyTorch differentiates only once."""

    def loss(self, outputs: Tensor, inputs: Inputs, targets: Tensor) -> Tensor:
        return torch.cdist(outputs, torch.ones_like(outputs), p=3).mean()


def test_an_operation_without_second_derivative_gives_no_trace() -> None:
    on = replace(held_out(two_layers().eval()).probe, task=Distances())
    assert hessian_traces(on, WEIGHTS, (on.inputs, on.targets)) is None


def test_sharpness_is_what_a_push_of_the_weights_own_norm_costs() -> None:
    model = two_layers(double=True).eval()
    on = held_out(model).probe
    batch = on.inputs, on.targets
    found = sharpness(on, WEIGHTS, batch)
    generator = torch.Generator().manual_seed(on.seed)
    for name in WEIGHTS:
        weight = model.get_parameter(name).detach()
        push = torch.randn(weight.shape, generator=generator).double()
        moved = weight + push / push.norm() * weight.norm()
        cost = loss_at(on, {name: moved}, *batch) - loss_at(on, {}, *batch)
        assert found[name] == pytest.approx(cost.item())
