"""Rows of the criteria benchmark: how gradient criteria rank channels, against ablation.

The reference network is `plain_cnn` (16, 16, 32, 32 and 64 channels, BatchNorm, ReLU). The oracle
is the squared change of the mean loss when one channel is zeroed after its ReLU, on images that no
criterion has seen. torch-pruning's criteria get the gradient over the same probe images in `.grad`,
as its documentation says. The multi-metric criterion is measured whole, and without each of its
parts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
import torch_pruning as tp
from bench import BenchSettings, Row, spread
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional
from train_dense import train

from rlprune.criteria.base import ChannelScores, Criterion, Probe
from rlprune.criteria.composite import PRESETS
from rlprune.criteria.fisher import Fisher, Hessian
from rlprune.criteria.norms import L1, L2
from rlprune.criteria.registry import criterion_named, multi_metric
from rlprune.criteria.snip import Snip
from rlprune.criteria.taylor import SecondOrderTaylor, Taylor
from rlprune.data.registry import load_data
from rlprune.data.splits import DataSplits
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace
from rlprune.models.plain_cnn import ConvNet
from rlprune.models.registry import load_model

EPOCHS = 4
PROBE_IMAGES, ORACLE_IMAGES = 2000, 600
LEAST = 0.90
WITHIN = "Spearman with ablation, mean over groups"

MULTI = "multi-metric"
PARTS = PRESETS[MULTI]

CRITERIA: dict[str, Criterion] = {
    "taylor": Taylor(),
    "taylor, batches of 50": Taylor(50),
    "taylor, batches of 500": Taylor(500),
    "taylor-second-order": SecondOrderTaylor(),
    "fisher": Fisher(),
    "hessian": Hessian(),
    "snip": Snip(),
    "l2": L2(),
    "l1": L1(),
    **{name: criterion_named(name) for name in (*PARTS, MULTI)},
    **{
        f"{MULTI} without {part}": multi_metric({p: w for p, w in PARTS.items() if p != part})
        for part in PARTS
    },
}

RIVALS = {
    "torch-pruning Taylor, defaults": tp.importance.GroupTaylorImportance(),
    "torch-pruning Taylor, sum, no normaliser": tp.importance.GroupTaylorImportance(
        group_reduction="sum", normalizer=None
    ),
    "torch-pruning magnitude, defaults": tp.importance.GroupMagnitudeImportance(),
}


def rows(settings: BenchSettings) -> list[Row]:
    """Measure every criterion on every network; draws of probe and oracle images are the seeds."""
    draws = range(1 if settings.quick else 3)
    found = []
    for name, model, data in _networks(settings):
        agreement: dict[str, list[tuple[float, float]]] = {}
        for seed in draws:
            for criterion, value in _draw(model, data, seed).items():
                agreement.setdefault(criterion, []).append(value)
        for criterion, values in agreement.items():
            overall, within = zip(*values, strict=True)
            case = f"{name}, {criterion}"
            demanded = criterion == "taylor"
            met = min(overall) >= LEAST if demanded else None
            target = f"at least {LEAST:.2f}" if demanded else ""
            found.append(spread(case, "Spearman with ablation, all channels", overall, target, met))
            found.append(spread(case, WITHIN, within))
        found.append(_fused(name, agreement))
    return found


def _fused(name: str, agreement: dict[str, list[tuple[float, float]]]) -> Row:
    """Return by how much the multi-metric criterion ranks groups better than its parts do."""
    within = {criterion: np.array(values)[:, 1] for criterion, values in agreement.items()}
    gains = within[MULTI] - np.mean([within[part] for part in PARTS], axis=0)
    case = f"{name}, {MULTI} - mean of its parts"
    return spread(case, WITHIN, gains.tolist(), "more than 0", bool(gains.min() > 0))


def _networks(settings: BenchSettings) -> Iterator[tuple[str, ConvNet, DataSplits]]:
    small = load_data("fashion-mnist", image_size=14)
    loaded = load_model("plain_cnn", small).module
    yield "plain_cnn, Fashion-MNIST 14x14", _conv_net(loaded), small
    if not settings.quick:
        data = load_data("fashion-mnist")
        trained = train("plain_cnn", data, EPOCHS, seed=0, learning_rate=0.1, shift=0).module
        yield "plain_cnn, Fashion-MNIST 28x28", _conv_net(trained), data


def _conv_net(module: nn.Module) -> ConvNet:
    if not isinstance(module, ConvNet):
        raise TypeError(f"expected a chain of convolutions, got {type(module).__name__}")
    return module.eval()


def _draw(model: ConvNet, data: DataSplits, seed: int) -> dict[str, tuple[float, float]]:
    """Return each criterion's agreement with the oracle on one draw of images."""
    parts = [data.search.tensors(), data.validation.tensors()]
    images = torch.cat([_image(inputs) for inputs, _ in parts])
    targets = torch.cat([classes for _, classes in parts])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    seen, unseen = order[:PROBE_IMAGES], order[PROBE_IMAGES : PROBE_IMAGES + ORACLE_IMAGES]
    graph = trace(model, images[:2])
    probe = Probe(
        model, graph, images[seen], targets[seen], Classification(), data.num_classes, seed
    )
    oracle = ablations(model, images[unseen], targets[unseen])
    ours = {name: one.channels(probe) for name, one in CRITERIA.items()}
    scores = {**ours, **_by_torch_pruning(model, images[seen], targets[seen])}
    return {name: _agreement(one, oracle) for name, one in scores.items()}


def _image(inputs: object) -> Tensor:
    if not isinstance(inputs, Tensor):
        raise TypeError("expected images")
    return inputs


@torch.no_grad()
def ablations(model: ConvNet, images: Tensor, targets: Tensor) -> ChannelScores:
    """Return the squared change of the mean loss when each channel alone is zeroed."""

    def loss(features: Tensor, start: int) -> float:
        pooled = model.pool(model.features[start:](features)).flatten(1)
        return float(functional.cross_entropy(model.classifier(pooled), targets))

    dense, found = loss(images, 0), {}
    for index, layer in enumerate(model.features):
        if not isinstance(layer, nn.ReLU):
            continue
        features = model.features[: index + 1](images)
        changes = []
        for channel in range(features.shape[1]):
            zeroed = features.clone()
            zeroed[:, channel] = 0
            changes.append((loss(zeroed, index + 1) - dense) ** 2)
        found[f"features.{index - 2}"] = torch.tensor(changes, dtype=torch.float64)
    return found


def _by_torch_pruning(model: ConvNet, images: Tensor, targets: Tensor) -> dict[str, ChannelScores]:
    """Score the same groups by torch-pruning's own criteria."""
    copied = copy.deepcopy(model)
    graph = tp.DependencyGraph().build_dependency(copied, images[:1], verbose=False)
    copied.zero_grad()
    for batch, classes in zip(*(torch.split(one, 500) for one in (images, targets)), strict=True):
        torch.autograd.backward(functional.cross_entropy(copied(batch), classes))
    names = {module: name for name, module in copied.named_modules()}
    groups = {
        names[group[0].dep.target.module]: group
        for group in graph.get_all_groups(ignored_layers=[copied.classifier])
    }
    return {
        name: {root: importance(group).double() for root, group in groups.items()}
        for name, importance in RIVALS.items()
    }


def _agreement(scores: ChannelScores, oracle: ChannelScores) -> tuple[float, float]:
    """Return Spearman's correlation over all channels, and its mean over groups."""
    pairs = [(scores[name].numpy(), oracle[name].numpy()) for name in oracle]
    overall = spearmanr(*(np.concatenate(side) for side in zip(*pairs, strict=True))).statistic
    return float(overall), float(np.mean([spearmanr(*pair).statistic for pair in pairs]))
