from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.criteria.base import Probe
from rlprune.criteria.fisher import Fisher
from rlprune.data import DataSplits
from rlprune.dynamics.probe import HeldOut, probe
from rlprune.errors import DynamicsError
from rlprune.evaluate.tasks import Classification, Reconstruction, infer_task
from rlprune.models.registry import LoadedModel
from rlprune.problem import Problem
from tests import nets
from tests.dynamics.training import NO_GROUPS, WEIGHTS, held_out, two_layers
from tests.transformer import Transformer


def test_a_probed_network_has_all_but_its_training() -> None:
    dynamics = probe(held_out(two_layers()))
    assert not dynamics.watched
    assert dynamics.trajectory is None
    assert dynamics.steps == 0
    assert dynamics.data is not None
    for layer in dynamics.layers:
        assert layer.drift is None
        assert None not in (layer.gradients, layer.activations, layer.curvature)


def test_the_numbers_are_those_of_brute_force() -> None:
    model = two_layers(double=True)
    on = held_out(model).probe
    dynamics = probe(held_out(model))
    hidden = model.hidden(on.inputs).detach()
    found = dynamics.by_weight["second.weight"].activations
    assert found is not None
    assert found.apoz == pytest.approx(float((hidden == 0).double().mean()))
    assert found.mean_abs == pytest.approx(float(hidden.mean()))
    gradients = []
    for inputs, targets in on.batches(8):  # 64 samples in 8 mini-batches
        loss = F.cross_entropy(model(inputs), targets)
        gradients.append(torch.autograd.grad(loss, model.first.weight)[0])
    stacked = torch.stack(gradients)
    first = dynamics.by_weight["first.weight"].gradients
    assert first is not None
    assert first.log_rms == pytest.approx(math.log(float(stacked.square().mean().sqrt())))
    deviation = stacked.var(0).sum().sqrt()
    assert first.snr == pytest.approx(float(stacked.mean(0).norm() / deviation))


def test_the_fisher_is_that_of_the_criterion_where_mini_batches_are_samples() -> None:
    model = two_layers(double=True).eval()
    few = held_out(model, count=8)
    expected = Fisher(batch=1).diagonal(few.probe)
    dynamics = probe(few)
    for name in WEIGHTS:
        found = dynamics.by_weight[name].curvature
        assert found is not None
        assert found.fisher == pytest.approx(float(expected[name].mean()))


def test_the_traits_of_the_data_are_its_own() -> None:
    model = two_layers().eval()
    on = held_out(model).probe
    data = probe(held_out(model, train_samples=300)).data
    assert data is not None
    assert data.log_classes == pytest.approx(math.log(3))
    assert data.log_samples_per_class == pytest.approx(math.log(100))
    assert data.log_input_size == pytest.approx(math.log(6))
    shares = torch.bincount(on.targets).double() / 64
    assert data.label_entropy == pytest.approx(float(-(shares * shares.log()).sum()) / math.log(3))
    with torch.no_grad():
        outputs = model(on.inputs).softmax(1)
    wrong = float((outputs.argmax(1) != on.targets).double().mean())
    assert data.dense_error == pytest.approx(wrong)
    margins = [
        float(row[label] - max(value for i, value in enumerate(row) if i != label))
        for row, label in zip(outputs, on.targets, strict=True)
    ]
    assert data.mean_margin == pytest.approx(sum(margins) / 64)


def test_a_reconstruction_has_no_margin_and_its_error_is_relative() -> None:
    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Linear(6, 2), nn.Linear(2, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(F.relu(self.down(x)))

    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    model = Autoencoder()
    on = Probe(model, NO_GROUPS, inputs, inputs.clone(), Reconstruction(), 1)
    data = probe(HeldOut(on, 64)).data
    assert data is not None
    assert data.mean_margin is None
    assert (data.log_classes, data.label_entropy) == (0, 0)
    peak = float(inputs.max() - inputs.min())
    error = F.mse_loss(model(inputs), inputs).item() / peak**2
    assert data.dense_error == pytest.approx(error, rel=1e-4)


def test_at_most_twenty_backward_passes_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, real = 0, torch.autograd.grad

    def counting(*args: object, **options: object) -> object:
        nonlocal passes
        passes += 1
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.autograd, "grad", counting)
    probe(held_out(two_layers()))
    assert 0 < passes <= 20


def snapshot(model: nn.Module) -> tuple[dict[str, Tensor], list[bool], list[bool]]:
    state = {name: one.clone() for name, one in model.state_dict().items()}
    training = [module.training for module in model.modules()]
    return state, training, [one.grad is None for one in model.parameters()]


@pytest.mark.parametrize("name", [*nets.PRUNABLE, "transformer", "attention"])
def test_any_network_is_probed_and_stays_as_it_was(name: str) -> None:
    model = network(name)
    model.train()
    inputs = nets.images(32)
    with torch.no_grad():
        outputs = copy.deepcopy(model).eval()(inputs)
    targets = torch.randint(10, (32,), generator=torch.Generator().manual_seed(2))
    task = infer_task(outputs, inputs, targets, 10)
    before = snapshot(model)
    dynamics = probe(HeldOut(Probe(model, NO_GROUPS, inputs, targets, task, 10), 100))
    after = snapshot(model)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    assert after[1:] == before[1:]
    assert not any(module._forward_pre_hooks for module in model.modules())
    for layer in dynamics.layers:
        assert None not in (layer.gradients, layer.curvature)
        unread = layer.weight.endswith("in_proj_weight")
        assert (layer.activations is None) == unread


class Attention(nn.Module):
    """PyTorch's own encoder layer, whose fast path calls none of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x.squeeze(1)).mean(1))


def network(name: str) -> nn.Module:
    if name in nets.PRUNABLE:
        return nets.build(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Transformer() if name == "transformer" else Attention()


def test_samples_are_drawn_from_the_search_split(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    model = loaded("mlp").module
    sampled = HeldOut.of(model, digits, Classification(), seed=1)
    assert sampled.train_samples == len(digits.train)
    assert len(sampled.probe) == min(512, len(digits.search))
    assert probe(sampled) == probe(sampled)
    assert probe(HeldOut.of(model, digits, Classification(), seed=2)) != probe(sampled)


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2"])
def test_groups_find_their_members_by_the_names_of_weights(
    problem_of: Callable[[str], Problem], name: str
) -> None:
    problem = problem_of(name)
    found = probe(HeldOut(problem.probe, len(problem.data.train))).by_weight
    for piece in problem.graph.slices:
        if len(problem.graph.tensors[piece.tensor].shape) > 1:
            assert found[piece.tensor].activations is not None


def test_weights_are_chosen_by_name() -> None:
    assert list(probe(held_out(two_layers()), ["second.weight"]).by_weight) == ["second.weight"]


def test_no_samples_and_samples_that_are_no_numbers_are_refused() -> None:
    model = two_layers()
    with pytest.raises(DynamicsError, match="there are no samples"):
        probe(held_out(model, count=0))
    on = held_out(model).probe
    damaged = on.inputs.clone()  # type: ignore[union-attr]
    damaged[0, 0] = math.nan
    with pytest.raises(DynamicsError, match="its samples hold NaN"):
        probe(HeldOut(replace(on, inputs=damaged), 1))
