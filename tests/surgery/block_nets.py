"""Tiny networks with residual blocks that can be bypassed, and some whose cannot."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.nets import Head


class Basic(nn.Module):
    """Two convolutions around a shortcut, and a ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.one = nn.Conv2d(inputs, 7, 3, stride, padding=1)
        self.two = nn.Conv2d(7, outputs, 3, padding=1)
        self.bn = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.two(F.relu(self.one(x))))
        y += self.shortcut(x)
        return F.relu(y)


class Stages(nn.Module):
    """Nested stages of blocks: the first of the second stage changes the shape."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU())
        self.stages = nn.Sequential(
            nn.Sequential(Basic(6, 6), Basic(6, 6)), nn.Sequential(Basic(6, 10, 2), Basic(10, 10))
        )
        self.head = Head(10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)))


class Dropped(nn.Module):
    """A residual that training skips at random, sample by sample, by a function of its own."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        if self.training:
            y = y * (torch.rand(len(x)) < 0.8).view(-1, *[1] * (x.ndim - 1)) / 0.8
        return x + y


class Inverted(nn.Sequential):
    """A residual without an activation after the sum (Sandler et al., 2018)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(6, 9, 1),
            nn.ReLU6(),
            nn.Conv2d(9, 9, 3, padding=1, groups=9),
            nn.ReLU6(),
            nn.Conv2d(9, 6, 1),
        )
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self:
            y = layer(y)
        return x + y


class Sized(nn.Module):
    """A block that is told the size of the image by its caller."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        return x + self.conv(x).view(len(x), -1, height, width)


class Gate(nn.Module):
    """A block of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.conv(y)


class Odd(nn.Module):
    """Blocks that cannot be removed, and one after them that can."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.sized, self.gate = Sized(), Gate()
        self.shared = Inverted()
        self.narrowing = Basic(6, 6, 2)
        self.last = Inverted()
        self.head = Head(6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = self.sized(x, *x.shape[2:])
        x = self.gate(x, F.relu(x))
        x = self.shared(F.relu(self.shared(x)))
        return self.head(self.last(self.narrowing(x)))


class Positions(nn.Module):
    """Positions are added to tokens: a sum, but no block to remove."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 6, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table
