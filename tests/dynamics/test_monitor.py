from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from rlprune.dynamics.monitor import Monitor
from rlprune.dynamics.record import scalars
from rlprune.dynamics.storage import read_dynamics
from rlprune.errors import DynamicsError
from tests.dynamics.training import OPTIMIZERS, WEIGHTS, held_out, samples, train, two_layers


class Seen:
    """Gradients, weights and hidden activations of every step."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.gradients: dict[str, list[Tensor]] = {name: [] for name in WEIGHTS}
        self.weights: dict[str, list[Tensor]] = {name: [] for name in WEIGHTS}
        self.hidden: list[Tensor] = []

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> None:
        for name in WEIGHTS:
            weight = self._model.get_parameter(name)
            assert weight.grad is not None
            self.gradients[name].append(weight.grad.double().clone())
            self.weights[name].append(weight.double().clone())
        first = self._model.get_submodule("first")
        self.hidden.append(F.relu(F.linear(inputs, first.weight, first.bias)))


@pytest.mark.parametrize("every", [1, 3])
def test_a_training_gives_the_numbers_that_brute_force_gives(every: int) -> None:
    model = two_layers()
    seen = Seen(model)
    with Monitor(model, steps=24, every=every) as monitor:
        train(model, monitor, steps=24, every_step=seen)
        dynamics = monitor.close()
    looked = range(12, 24, every)
    taylor = {
        name: np.mean(
            [(seen.weights[name][i] * seen.gradients[name][i]).abs().sum() for i in looked]
        )
        for name in WEIGHTS
    }
    for name in WEIGHTS:
        layer = dynamics.by_weight[name]
        gradients = np.stack([seen.gradients[name][i].numpy() for i in looked])
        ratios = [seen.gradients[name][i].norm() / seen.weights[name][i].norm() for i in looked]
        deviation = math.sqrt(gradients.var(0, ddof=1).sum())
        assert layer.gradients is not None
        assert layer.gradients.log_rms == pytest.approx(math.log((gradients**2).mean() ** 0.5))
        assert layer.gradients.weight_ratio == pytest.approx(np.mean(ratios), rel=1e-5)
        snr = np.linalg.norm(gradients.mean(0)) / deviation
        assert layer.gradients.snr == pytest.approx(snr, rel=1e-4)
        share = taylor[name] / sum(taylor.values())
        assert layer.gradients.taylor_share == pytest.approx(share, rel=1e-5)
        now = model.get_parameter(name).detach().double()
        # The copy is taken at the 12th step, before the optimizer has moved the weights.
        before = seen.weights[name][11]
        assert layer.drift is not None
        drift = float((now - before).norm() / now.norm())
        assert layer.drift.weight_drift == pytest.approx(drift, rel=1e-5)
    hidden = torch.cat([seen.hidden[i] for i in looked]).double()
    found = dynamics.by_weight["second.weight"].activations
    assert found is not None
    assert found.apoz == pytest.approx(float((hidden == 0).double().mean()))
    assert found.mean_abs == pytest.approx(float(hidden.abs().mean()), rel=1e-5)
    assert found.dead == pytest.approx(float((hidden == 0).all(0).double().mean()))
    assert found.dead >= 2 / 8


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_watched_training_is_the_same_to_the_last_bit(optimizer: str) -> None:
    plain, with_monitor = two_layers(), two_layers()
    drawn = []
    states = []
    for model in (plain, with_monitor):
        torch.manual_seed(3)
        monitor = Monitor(model, steps=20, every=2) if model is with_monitor else None
        states.append(train(model, monitor, steps=20, optimizer=optimizer).state_dict())
        if monitor is not None:
            monitor.close(held_out(model))
        drawn.append(torch.rand(4))
    for one, other in zip(plain.parameters(), with_monitor.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert torch.equal(*drawn)
    assert with_monitor.training


def hooks_on(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def test_no_hook_stays_after_use_nor_after_an_exception() -> None:
    model = two_layers()
    monitor = Monitor(model, steps=4)
    assert hooks_on(model) == 2
    train(model, monitor, steps=4)
    monitor.close(held_out(model))
    assert hooks_on(model) == 0

    def fail(inputs: Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Monitor(model, steps=4) as monitor:
        train(model, monitor, steps=4, every_step=fail)
    assert hooks_on(model) == 0


def test_what_passes_in_evaluation_mode_is_not_looked_at() -> None:
    model = two_layers()
    with Monitor(model, steps=10, every=1) as monitor:
        model.eval()
        model(torch.full((4, 6), 1e6))
        train(model, monitor, steps=3)
        model.eval()
        model(torch.full((4, 6), 1e6))
        found = monitor.close().by_weight["first.weight"].activations
    assert found is not None
    assert found.mean_abs < 2


def test_a_training_that_ends_early_says_what_it_does_not_know() -> None:
    model = two_layers()
    with Monitor(model, steps=1000, every=2) as monitor:
        train(model, monitor, steps=10, epoch=100)
        dynamics = monitor.close()
    assert dynamics.watched
    assert dynamics.steps == 10
    assert dynamics.data is None
    assert dynamics.trajectory is not None
    assert dynamics.trajectory.validation_gap is None
    for layer in dynamics.layers:
        assert layer.gradients is not None
        assert layer.curvature is None
        assert layer.drift is not None
        assert layer.drift.weight_drift is None
        assert layer.drift.mask_distance is None


@pytest.mark.parametrize("steps", [4, 40])
def test_a_short_training_is_looked_at_often_enough(steps: int) -> None:
    model = two_layers()
    with Monitor(model, steps=steps) as monitor:
        train(model, monitor, steps=steps)
        dynamics = monitor.close()
    assert all(layer.gradients is not None for layer in dynamics.layers)


def test_frozen_weights_have_no_gradients() -> None:
    model = two_layers()
    model.first.requires_grad_(False)
    with Monitor(model, steps=10, every=1) as monitor:
        for number in range(10):
            inputs, targets = samples(16, seed=number)
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            monitor.step(loss)
        dynamics = monitor.close()
    assert dynamics.by_weight["first.weight"].gradients is None
    second = dynamics.by_weight["second.weight"].gradients
    assert second is not None
    assert second.taylor_share == 1


def test_recurrent_networks_are_watched_without_what_they_read() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.cell(x[:, None].expand(-1, 4, -1))[0][:, -1])

    model = Recurrent()
    with Monitor(model, steps=10, every=1) as monitor:
        train(model, monitor, steps=10)
        dynamics = monitor.close(held_out(model))
    cell = dynamics.by_weight["cell.weight_hh_l0"]
    assert cell.activations is None
    assert cell.gradients is not None
    assert cell.curvature is not None
    assert dynamics.by_weight["out.weight"].activations is not None


def test_tensorboard_holds_every_number_under_stable_tags(tmp_path: Path) -> None:
    model = two_layers()
    with SummaryWriter(str(tmp_path)) as writer:
        with Monitor(model, steps=20, every=2, writer=writer) as monitor:
            train(model, monitor, steps=20)
            dynamics = monitor.close(held_out(model), tmp_path / "dynamics.json")
    assert read_dynamics(tmp_path / "dynamics.json") == dynamics
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    expected = dict(scalars(dynamics.layers, dynamics.trajectory, dynamics.data))
    assert set(events.Tags()["scalars"]) == {
        "dynamics/trajectory/loss",
        *(f"dynamics/{name}" for name in expected),
    }
    for name, value in expected.items():
        assert events.Scalars(f"dynamics/{name}")[-1].value == pytest.approx(value, rel=1e-6)
    for tag, steps in {
        "dynamics/trajectory/loss": [5, 10, 15, 20, 20],
        "dynamics/gradients/snr/first.weight": [5, 15, 20, 20],  # begins anew half-way
        "dynamics/curvature/fisher/second.weight": [20],
    }.items():
        assert [event.step for event in events.Scalars(tag)] == steps


def test_a_diverged_training_is_named_and_leaves_no_hooks() -> None:
    model = two_layers()
    with Monitor(model, steps=10, every=1) as monitor:
        train(model, monitor, steps=10)
        nn.init.constant_(model.second.weight, math.nan)
        with pytest.raises(DynamicsError, match="training has diverged"):
            monitor.close(held_out(model))
    assert hooks_on(model) == 0


@pytest.mark.parametrize(("steps", "every"), [(0, 1), (10, 0)])
def test_counts_that_watch_nothing_are_refused(steps: int, every: int) -> None:
    with pytest.raises(DynamicsError, match="give 1 or more"):
        Monitor(two_layers(), steps=steps, every=every)
