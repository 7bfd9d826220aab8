"""Networks that do something odd around one layer, and one with several inputs and outputs."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests import nets


class Linear(nn.Module):
    """Three numbers per image; subclasses do something odd around them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 3)


class Reshaped(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.reshape(2, -1))


class Counted(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.stack([image.flatten() for image in x]))


class Branching(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)) if x.sum() > 1e9 else self.layer(x.flatten(1) * 2)


class Eigen(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x.squeeze(1)).real


class Random(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.layer(x.flatten(1)), 0.5, training=True)


class NotANumber(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)) * float("nan")


class Nothing(Linear):
    def forward(self, x: Tensor) -> str:
        return "nothing"


class Clashing(nn.Module):
    """Layers with the names of attributes of torch's own exported modules."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Sequential(nn.Linear(64, 4))
        self.graph = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.graph(self.code(x.flatten(1)))


class Warns(Linear):
    def forward(self, x: Tensor) -> Tensor:
        warnings.warn("mind the gap", UserWarning, stacklevel=1)
        return self.layer(x.flatten(1))


class Fused(nn.Module):
    """Two inputs; a dict of tensors, one of them nested and one of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(1, 4, 3)
        self.text = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, image: Tensor, tokens: Tensor) -> dict[str, object]:
        features = F.relu(self.image(image)).mean((2, 3)) + self.text(tokens).mean(1)
        logits = self.head(features)
        return {"logits": logits, "more": (features, logits.argmax(1))}


IMAGES = nets.images(2)
TOKENS = torch.arange(6).reshape(2, 3)
