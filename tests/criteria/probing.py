"""Probes of small networks for the tests of criteria that differentiate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.criteria.base import Probe
from rlprune.evaluate.tasks import infer_task
from rlprune.graph.trace import trace
from tests import nets

GRADIENT_CRITERIA = ("taylor", "taylor-second-order", "fisher", "hessian", "snip")
CLASSES = 10


class QueriesAndKeys(nn.Module):
    """One head of attention over rows; no weight reads queries and keys, only their product."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, width) for width in (12, 12, 6))
        self.classifier = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.squeeze(1)
        likeness = (self.query(x) @ self.key(x).transpose(1, 2)).softmax(-1)
        return self.classifier((likeness @ self.value(x)).mean(1))


class Chain(nn.Module):
    """Two convolutions without BatchNorm and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 5, 3, padding=1)
        self.classifier = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(x))))
        return self.classifier(x.mean((2, 3)))


def seeded(factory: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return factory().eval()


def probe_of(model: nn.Module, count: int = 24, *, double: bool = True) -> Probe:
    """Random images of random classes; in double precision where numbers are to be differenced."""
    images = nets.images(count)
    if double:
        model, images = model.double(), images.double()
    targets = torch.randint(CLASSES, (count,), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        task = infer_task(model(images), images, targets, CLASSES)
    return Probe(model, trace(model, images[:2]), images, targets, task, CLASSES)
