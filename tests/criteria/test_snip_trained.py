"""SNIP's masks at 98 % sparsity, where chance and magnitudes at initialisation fail."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.criteria.base import Probe
from rlprune.criteria.registry import weight_scores
from rlprune.data import fashion_mnist
from rlprune.data.registry import load_data
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace

SAMPLES, BATCH, EPOCHS = 20_000, 100, 8
RATE, MOMENTUM = 0.1, 0.9
KEPT = 0.02


class LeNet(nn.Sequential):
    """784-300-100-10, as in the paper."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(784, 300),
            nn.ReLU(),
            nn.Linear(300, 100),
            nn.ReLU(),
            nn.Linear(100, 10),
        )


def masks_of(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keep the weights of largest score in the whole network."""
    flat = torch.cat([one.flatten() for one in scores.values()])
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[flat.topk(round(KEPT * len(flat))).indices] = True
    parts = chosen.split([one.numel() for one in scores.values()])
    return {
        name: part.view_as(one) for (name, one), part in zip(scores.items(), parts, strict=True)
    }


def train(model: nn.Module, masks: dict[str, Tensor], images: Tensor, targets: Tensor) -> None:
    """Train the weights that stay; the others are zero after every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    steps = len(targets) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * steps)
    generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def cut() -> None:
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)

    cut()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(targets), generator=generator).split(BATCH):
            loss = F.cross_entropy(model(images[batch]), targets[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            cut()


@pytest.mark.slow
@pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(),
    reason="Fashion-MNIST is not installed: apt-get install dataset-fashion-mnist",
)
def test_at_98_per_cent_snip_trains_where_chance_and_magnitude_do_not() -> None:
    data = load_data("fashion-mnist")
    images, targets = data.train.tensors(SAMPLES)
    torch.manual_seed(0)
    model = LeNet()
    graph = trace(model.eval(), images[:2])
    probe = Probe(model, graph, images[:BATCH], targets[:BATCH], Classification(), data.num_classes)
    unseen, classes = data.validation.tensors()
    accuracy, density = {}, {}
    for name in ("snip", "random", "l2"):
        masks = masks_of(weight_scores(name, replace(probe, seed=1)))
        weights = sum(mask.numel() for mask in masks.values())
        assert sum(int(mask.sum()) for mask in masks.values()) == round(KEPT * weights)
        density[name] = [float(mask.float().mean()) for mask in masks.values()]
        small = copy.deepcopy(model)
        train(small, masks, images, targets)
        with torch.no_grad():
            accuracy[name] = 100 * Classification().quality(small(unseen), unseen, classes)
    assert accuracy["snip"] >= accuracy["random"] + 15
    assert accuracy["snip"] >= 80
    assert accuracy["l2"] < 15  # the first layer is empty
    first, second, last = density["snip"]
    assert first < second < last
