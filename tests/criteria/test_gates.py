"""Gates scale what is read of a unit: exact slopes, and closed is removed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rlprune.criteria.base import Probe
from rlprune.criteria.gates import Gates
from rlprune.data.splits import DataSplits
from rlprune.evaluate.tasks import infer_task
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel
from rlprune.surgery.plan import Plan
from tests import nets
from tests.criteria.probing import QueriesAndKeys, probe_of, seeded
from tests.transformer import HEADS, transformer

# Removing channels that a layer averages over changes what the others see, closing does not.
AVERAGED = {"normalised"}

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda name=name: nets.build(name) for name in nets.PRUNABLE},
    "transformer": transformer,
    "queries and keys": lambda: seeded(QueriesAndKeys),
}


def loss_with(gates: Gates, probe: Probe, values: Tensor) -> Tensor:
    return gates.loss(values, probe.inputs, probe.targets)


def slopes_of(gates: Gates, probe: Probe) -> Tensor:
    (slopes,) = torch.autograd.grad(loss_with(gates, probe, gates.open), gates.open)
    return slopes


def loss_without(probe: Probe, unit: int, group_name: str) -> Tensor:
    """The loss of the network that is left when a unit is physically removed."""
    group = probe.graph.group(group_name)
    kept = [channel for channel, atom in enumerate(group.atom_of) if atom != unit]
    small = Plan({group_name: kept}, probe.graph).apply(probe.model)
    with torch.no_grad():
        return probe.task.loss(small(probe.inputs), probe.inputs, probe.targets)


@pytest.mark.parametrize("name", NETWORKS)
def test_slopes_are_finite_differences_of_the_gates(name: str) -> None:
    probe = probe_of(NETWORKS[name]())
    gates = Gates(probe)
    slopes, step = slopes_of(gates, probe), 1e-6
    with torch.no_grad():
        for gate, slope in enumerate(slopes):
            move = torch.zeros_like(gates.open)
            move[gate] = step
            up, down = (loss_with(gates, probe, gates.open + one) for one in (move, -move))
            assert float((up - down) / (2 * step)) == pytest.approx(float(slope), 1e-3, 1e-8)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - AVERAGED))
def test_a_closed_gate_is_a_removed_unit(name: str) -> None:
    probe = probe_of(NETWORKS[name]())
    gates, gate = Gates(probe), 0
    for group in probe.graph.groups:
        if group.kind == "block":
            continue
        for unit in range(group.width // group.step):
            closed = torch.ones_like(gates.open.detach())
            closed[gate] = 0
            expected = loss_without(probe, unit, group.name)
            torch.testing.assert_close(loss_with(gates, probe, closed).detach(), expected)
            gate += 1
    assert gate == len(gates.open)


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2", "densenet", "mlp"])
def test_gates_of_built_in_networks_are_exact(
    name: str, digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    images, targets = digits.search.tensors(16)
    model, images = copy.deepcopy(loaded(name).module).double(), images.double()
    with torch.no_grad():
        task = infer_task(model(images), images, targets, digits.num_classes)
    probe = Probe(model, trace(model, images[:2]), images, targets, task, digits.num_classes)
    gates = Gates(probe)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(len(gates.open), generator=generator, dtype=torch.float64)
    step = 1e-7 * direction
    with torch.no_grad():
        up, down = (loss_with(gates, probe, gates.open + one) for one in (step, -step))
    along = float(slopes_of(gates, probe) @ direction)
    assert float(up - down) / 2e-7 == pytest.approx(along, 1e-3)
    first = probe.graph.groups[0]
    closed = torch.ones_like(gates.open.detach())
    closed[0] = 0
    expected = loss_without(probe, 0, first.name)
    torch.testing.assert_close(loss_with(gates, probe, closed).detach(), expected)


def test_a_closed_gate_is_a_channel_that_is_zeroed_after_its_activation(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    model = loaded("plain_cnn").module
    images, targets = digits.search.tensors(16)
    graph = trace(model, images[:2])
    with torch.no_grad():
        task = infer_task(model(images), images, targets, digits.num_classes)
    gates = Gates(Probe(model, graph, images, targets, task, digits.num_classes))
    closed = torch.ones_like(gates.open.detach())
    closed[16 + 3] = 0  # the second group's channel 3

    def zero(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output * (torch.arange(output.shape[1]) != 3).view(1, -1, 1, 1)

    assert graph.names[1] == "features.3"
    handle = model.get_submodule("features.5").register_forward_hook(zero)
    with torch.no_grad():
        expected = task.loss(model(images), images, targets)
    handle.remove()
    torch.testing.assert_close(gates.loss(closed, images, targets).detach(), expected)


def test_tied_channels_share_a_gate_and_its_value_and_blocks_get_nothing() -> None:
    probe = probe_of(transformer())
    gates = Gates(probe)
    channels = gates.channels(torch.arange(1.0, 1 + len(gates.open)))
    heads, block = channels["blocks.0.qkv"], channels["blocks.0 (block)"]
    assert heads.view(3, HEADS, -1).unique_consecutive().tolist() == [1, 2, 3, 4] * 3
    assert len(heads.unique()) == HEADS
    assert block.tolist() == [0]


def test_positions_that_always_stay_are_not_gated() -> None:
    class Joined(nn.Module):
        """Features of fixed width beside those of a convolution, read by one layer."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 6, 3, padding=1)
            self.classifier = nn.Linear(6 + 8, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(torch.cat([x.mean((1, 2)), self.conv(x).mean((2, 3))], 1))

    probe = probe_of(seeded(Joined))
    gates = Gates(probe)
    assert len(gates.open) == 6
    with torch.no_grad():
        shut = loss_with(gates, probe, torch.zeros_like(gates.open))
        probe.model.get_submodule("conv").requires_grad_(False)
        for parameter in probe.model.get_submodule("conv").parameters():
            parameter.zero_()
        expected = probe.loss(probe.inputs, probe.targets)
    torch.testing.assert_close(shut, expected)
