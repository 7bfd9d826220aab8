"""Taylor scores against ablation, at the operating point of Molchanov et al. (CVPR 2019)."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.criteria.base import Probe
from rlprune.criteria.gates import Gates
from rlprune.criteria.norms import L1, L2
from rlprune.criteria.taylor import SecondOrderTaylor, Taylor
from rlprune.data import fashion_mnist
from rlprune.data.registry import load_data
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace
from rlprune.models.registry import load_model
from tests import nets
from tests.criteria.probing import Chain, probe_of, seeded
from tests.oracles import dependency_graph

needs_fashion_mnist = pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(),
    reason="Fashion-MNIST is not installed: apt-get install dataset-fashion-mnist",
)


@cache
def reference() -> tuple[Probe, Tensor]:
    """The trained reference network with 2000 images, and its oracle on 600 others."""
    data = load_data("fashion-mnist", image_size=14)
    model = load_model("plain_cnn", data).module
    images, targets = data.search.tensors(2000)
    graph = trace(model, images[:2])
    probe = Probe(model, graph, images, targets, Classification(), data.num_classes)
    return probe, oracle(model, *data.validation.tensors(600))


@torch.no_grad()
def oracle(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Return the squared change of the loss when each channel is zeroed after its ReLU."""
    dense = F.cross_entropy(model(images), targets)
    changes = []
    features, rest = images, list(model.features)
    while rest:
        layer = rest.pop(0)
        features = layer(features)
        if not isinstance(layer, nn.ReLU):
            continue
        for channel in range(features.shape[1]):
            zeroed = features.clone()
            zeroed[:, channel] = 0
            pooled = model.pool(nn.Sequential(*rest)(zeroed)).flatten(1)
            changes.append(F.cross_entropy(model.classifier(pooled), targets) - dense)
    return torch.stack(changes).double().square()


def agreement(scores: dict[str, Tensor]) -> float:
    return float(spearmanr(torch.cat(list(scores.values())), reference()[1]).statistic)


def by_torch_pruning(importance: object) -> dict[str, Tensor]:
    """Score the groups by torch-pruning, with the gradient over all probe images in `.grad`."""
    probe, _ = reference()
    model = copy.deepcopy(probe.model).requires_grad_(True)
    graph = dependency_graph(model, probe.inputs[:1])
    torch.autograd.backward(F.cross_entropy(model(probe.inputs), probe.targets))
    names = {module: name for name, module in model.named_modules()}
    groups = graph.get_all_groups(ignored_layers=[model.classifier])
    found = {names[group[0].dep.target.module]: importance(group) for group in groups}
    return {name: found[name] for name in probe.graph.names}


@needs_fashion_mnist
def test_taylor_ranks_all_channels_as_ablation_on_other_images_does() -> None:
    import torch_pruning as tp

    probe, _ = reference()
    taylor = agreement(Taylor().channels(probe))
    defaults = agreement(by_torch_pruning(tp.importance.GroupTaylorImportance()))
    plain = tp.importance.GroupTaylorImportance(group_reduction="sum", normalizer=None)
    summed = agreement(by_torch_pruning(plain))
    norm = agreement(L2().channels(probe))
    print(f"Taylor {taylor:.3f}; torch-pruning {defaults:.3f}, summed {summed:.3f}; L2 {norm:.3f}")
    assert taylor >= 0.90
    assert taylor > max(defaults, summed, norm) + 0.1


@needs_fashion_mnist
def test_second_order_also_ranks_channels_as_ablation_does() -> None:
    probe, _ = reference()
    assert agreement(SecondOrderTaylor().channels(probe)) >= 0.90


@needs_fashion_mnist
def test_squares_of_small_batches_rank_better_than_the_square_of_the_mean() -> None:
    probe, _ = reference()
    small, large = (agreement(Taylor(batch).channels(probe)) for batch in (10, 500))
    assert small > large + 0.02


@needs_fashion_mnist
def test_scores_follow_the_labels() -> None:
    probe, _ = reference()
    few = replace(probe, inputs=probe.inputs[:500], targets=probe.targets[:500])
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    right, wrong = (
        torch.cat(list(Taylor().channels(replace(few, targets=targets)).values()))
        for targets in (few.targets, few.targets[order])
    )
    assert (wrong > 2 * right).all()


def test_scores_are_mean_squares_of_the_gates_slopes() -> None:
    probe = probe_of(nets.build("concat"), 24)
    gates = Gates(probe)
    expected = torch.zeros(len(gates.open), dtype=torch.float64)
    for batch in (slice(0, 10), slice(10, 20), slice(20, 24)):
        loss = gates.loss(gates.open, probe.inputs[batch], probe.targets[batch])
        (slope,) = torch.autograd.grad(loss, gates.open)
        expected += len(probe.targets[batch]) / 24 * slope.square()
    for name, scores in Taylor().channels(probe).items():
        torch.testing.assert_close(scores, gates.channels(expected)[name])


@pytest.mark.parametrize("criterion", [Taylor(), SecondOrderTaylor()], ids=lambda one: one.name)
def test_rescaling_a_layer_and_its_consumer_changes_norms_but_not_taylor(
    criterion: Taylor | SecondOrderTaylor,
) -> None:
    before = probe_of(seeded(Chain))
    rescaled = copy.deepcopy(before.model)
    with torch.no_grad():
        rescaled.first.weight *= 8
        rescaled.first.bias *= 8
        rescaled.second.weight /= 8
    after = probe_of(rescaled)
    ours, same = criterion.channels(before), criterion.channels(after)
    for name, scores in ours.items():
        torch.testing.assert_close(same[name], scores)
    for norm in (L1(), L2()):
        orders = [torch.cat(list(norm.channels(p).values())).argsort() for p in (before, after)]
        assert not torch.equal(*orders)


def test_rescaling_the_scale_and_shift_of_batchnorm_leaves_taylor_unchanged() -> None:
    before = probe_of(nets.build("flattened"))
    rescaled = copy.deepcopy(before.model)
    with torch.no_grad():
        rescaled.bn.weight *= 5
        rescaled.bn.bias *= 5
        rescaled.hidden.weight /= 5
    ours, same = Taylor().channels(before), Taylor().channels(probe_of(rescaled))
    for name, scores in ours.items():
        torch.testing.assert_close(same[name], scores)


def test_the_second_order_is_exact_for_a_quadratic_loss() -> None:
    """Linear layers and mean squared error: closing one gate follows the expansion exactly."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow = nn.Linear(64, 6)
            self.wide = nn.Linear(6, 64)

        def forward(self, x: Tensor) -> Tensor:
            return self.wide(self.narrow(x.flatten(1))).view_as(x)

    probe = probe_of(seeded(Linear), 400)
    gates = Gates(probe)
    with torch.no_grad():
        dense = float(gates.loss(gates.open, probe.inputs, probe.targets))
        changes = []
        for gate in range(6):
            closed = gates.open.detach().clone()
            closed[gate] = 0
            changes.append(float(gates.loss(closed, probe.inputs, probe.targets)) - dense)
    # One batch is the loss itself; many draws of it make the estimated curvature sharp.
    scores = np.mean(
        [
            SecondOrderTaylor(400).channels(replace(probe, seed=seed))["narrow"].sqrt().numpy()
            for seed in range(256)
        ],
        axis=0,
    )
    np.testing.assert_allclose(scores, np.abs(changes), rtol=0.1)
