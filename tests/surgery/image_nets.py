"""Tiny networks for images of shape (1, 8, 8), one structure each that nets.py does not have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.nets import Head


class Between(nn.Module):
    """Something between a convolution of 12 channels and one that reads what comes out of it."""

    def __init__(self, middle: nn.Module, channels: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.middle = middle
        self.last = nn.Conv2d(channels, 6, 1)
        self.head = Head(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.last(self.middle(F.relu(self.stem(x))))))


class ShuffleUnit(nn.Module):
    """Half of the channels pass by, then all are shuffled (Ma et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(6, 6, 1),
            nn.Conv2d(6, 6, 3, padding=1, groups=6),
            nn.BatchNorm2d(6),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        one, two = x.chunk(2, 1)
        x = torch.cat([one, self.branch(two)], 1)
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class Splits(nn.Module):
    """Parts of unequal, named sizes go through layers of their own, as in Res2Net."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 1), nn.Conv2d(5, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = torch.split(x, [3, 4, 5], 1)
        return torch.cat([a, F.relu(self.one(b)), F.relu(self.two(c))], 1)


class Slices(nn.Module):
    """The same parts, cut out by bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.relu(self.one(x[:, :4])), x[:, 4:8], x[:, 8:]], 1)


class PartialSum(nn.Module):
    """Some channels get a sum, the others pass by."""

    def __init__(self) -> None:
        super().__init__()
        self.some = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.narrow(1, 0, 4) + self.some(x), x.narrow(1, 4, 8)], 1)


class ResponseNorm(nn.Module):
    """Global response normalisation (Woo et al., 2023): divides by a mean over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(1, 12, 1, 1) + 0.5)
        self.beta = nn.Parameter(torch.rand(1, 12, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        size = x.norm(dim=(2, 3), keepdim=True)
        return x + self.gamma * x * size / (size.mean(1, keepdim=True) + 1e-6) + self.beta


class ChannelsLastNorm(nn.Module):
    """LayerNorm over the channels of images, by a detour."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Depthwise, LayerNorm, two layers, layer scale and a residual, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.norm = nn.LayerNorm(12)
        self.wide, self.narrow = nn.Linear(12, 20), nn.Linear(20, 12)
        self.gamma = nn.Parameter(torch.rand(12))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.narrow(F.gelu(self.wide(y)))
        return x + y.permute(0, 3, 1, 2)


class Standardised(nn.Conv2d):
    """A convolution whose weight is standardised filter by filter (Qiao et al., 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class StandardisedKernels(nn.Conv2d):
    """A convolution whose weight is standardised kernel by kernel, over space only."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((2, 3), keepdim=True)
        return F.conv2d(x, weight * 2, self.bias, self.stride, self.padding)


class Branches(nn.Module):
    """Parallel branches that could be merged into one (Ding et al., 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12))
        self.narrow = nn.Sequential(nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12))
        self.identity = nn.BatchNorm2d(12)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.wide(x) + self.narrow(x) + self.identity(x))


class Recurrent(nn.Module):
    """An LSTM over the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(12, 12, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        rows, _ = self.rnn(x.mean(3).transpose(1, 2))
        return rows.transpose(1, 2)[..., None]


class SelectiveKernel(nn.Module):
    """A softmax over branches weighs every channel (Li et al., 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(12, 12, 1), nn.Conv2d(12, 12, 3, padding=1)
        self.squeeze, self.select = nn.Linear(12, 5), nn.Linear(5, 24)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.stack([self.one(x), self.two(x)], 1)
        weights = self.select(F.relu(self.squeeze(both.sum(1).mean((2, 3)))))
        weights = weights.view(len(x), 2, 12).softmax(1)
        return (both * weights[..., None, None]).sum(1)


class MaxOut(nn.Module):
    """The largest of three pieces (Goodfellow et al., 2013)."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = nn.Conv2d(12, 15, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        return self.pieces(x).view(b, 5, 3, h, w).amax(2)


class SpatialGate(nn.Module):
    """A gate computed from the mean and the maximum over channels (Woo et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.gate(seen))


class ChannelConvolution(nn.Module):
    """A convolution that runs along the channels (Wang et al., 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.along = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.along(x.mean((2, 3)).unsqueeze(1)).squeeze(1)
        return x * torch.sigmoid(gate)[..., None, None]


class Upscaled(nn.Module):
    """A coarse branch is upsampled and concatenated with coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(12, 7, 3, stride=2, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        fine = F.interpolate(F.relu(self.coarse(x)), scale_factor=2, mode="bilinear")
        place = torch.linspace(0, 1, 8, device=x.device).expand(len(x), 1, 8, 8)
        return torch.cat([x, fine, place], 1)


class Blurred(nn.Module):
    """A fixed filter on every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.full((12, 1, 2, 2), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, groups=x.shape[1])


class Experts(nn.Module):
    """A softmax gate weighs two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.gate = nn.Conv2d(12, 7, 1), nn.Conv2d(12, 7, 1), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.gate(x.mean((2, 3))).softmax(1)
        first, second = weights[:, :1, None, None], weights[:, 1:, None, None]
        return self.one(x) * first + self.two(x) * second


class Gram(nn.Module):
    """Second-order pooling: products of all pairs of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(12, 4, 1), nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.one(x).flatten(2), self.two(x).flatten(2)
        return (one @ two.transpose(1, 2)).flatten(1)[..., None, None]


class Conditioned(nn.Module):
    """Scale and shift of every channel come from a layer (Perez et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.film = nn.Linear(12, 24)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.film(x.mean((2, 3))).view(len(x), 24, 1, 1).split(12, 1)
        return x * (1 + scale) + shift


class WrittenInPlace(nn.Module):
    """A buffer that layers fill part by part."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(12, 4, 1), nn.Conv2d(12, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        filled = x.new_zeros(x.shape)
        filled[:, :4] = self.one(x)
        filled[:, 4:] += self.two(x)
        return filled


class OverwrittenInPlace(nn.Module):
    """A layer replaces some channels of another."""

    def __init__(self) -> None:
        super().__init__()
        self.some = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :4] = self.some(x)
        return y


@dataclass(frozen=True)
class Case:
    """What stands between two convolutions, and what is to become of their channels.

    Attributes:
        build: the module in between.
        units: `{group: number of channels or tied sets of channels that can go}`.
        channels: how many come out of it.
        left_out: `{group: words of the reason}`.
        inexact: whether an average over channels has no counterpart that ignores them.
    """

    build: Callable[[], nn.Module]
    units: dict[str, int]
    channels: int = 12
    left_out: dict[str, str] = field(default_factory=dict)
    inexact: bool = False


def _only_last(build: Callable[[], nn.Module], reason: str, channels: int = 12) -> Case:
    return Case(build, {"last": 6}, channels, {"stem": reason})


def _both(build: Callable[[], nn.Module], channels: int = 12, stem: int = 12) -> Case:
    return Case(build, {"stem": stem, "last": 6}, channels)


CASES: dict[str, Case] = {
    "shuffle unit": Case(ShuffleUnit, {"stem": 6, "stem [2]": 6, "last": 6}),
    "two shuffle units": Case(
        lambda: nn.Sequential(ShuffleUnit(), ShuffleUnit()),
        # what passes both units by is tied to what the second writes; what the first writes and
        # the second reads has a group of its own, and so has what only the first one reads
        {"stem": 3, "stem [2]": 3, "stem [3]": 6, "last": 6},
    ),
    "splits": Case(
        Splits,
        {"stem": 3, "stem [2]": 4, "stem [3]": 5, "middle.one": 4, "middle.two": 5, "last": 6},
    ),
    "slices": Case(Slices, {"stem": 4, "stem [2]": 8, "middle.one": 4, "last": 6}),
    "partial sum": Case(PartialSum, {"stem": 4, "stem [2]": 8, "last": 6}),
    "response norm": Case(ResponseNorm, {"stem": 12, "last": 6}, inexact=True),
    "group norm": _both(lambda: nn.GroupNorm(4, 12), stem=4),
    "one group norm": _both(lambda: nn.GroupNorm(1, 12)),
    "group norm of single channels": _both(lambda: nn.GroupNorm(12, 12)),
    "group norm without weights": _only_last(
        lambda: nn.GroupNorm(4, 12, affine=False), "num_groups=4"
    ),
    "layer norm": _both(ChannelsLastNorm),
    "layer norm of images": _both(lambda: nn.LayerNorm([12, 8, 8])),
    "instance norm": _both(lambda: nn.InstanceNorm2d(12, affine=True)),
    "local response norm": _only_last(lambda: nn.LocalResponseNorm(3), "runs over its channels"),
    "batch norm without weights": _both(lambda: nn.BatchNorm2d(12, affine=False)),
    "convnext": Case(
        ConvNeXt,
        {"middle.wide": 20, "last": 6, "middle (block)": 1},
        left_out={"stem": "residual width"},
    ),
    "pixel shuffle": _both(lambda: nn.PixelShuffle(2), 3, stem=3),
    "pixel unshuffle": _both(lambda: nn.PixelUnshuffle(2), 48),
    "depthwise": _both(lambda: nn.Conv2d(12, 12, 3, groups=12)),
    "depthwise with multiplier": _both(lambda: nn.Conv2d(12, 24, 3, groups=12), 24),
    "grouped": _both(lambda: nn.Conv2d(12, 8, 3, groups=4), 8, stem=4),
    "grouped twice": _both(
        lambda: nn.Sequential(nn.Conv2d(12, 8, 3, groups=4), nn.Conv2d(8, 6, 1, groups=2)), 6, 2
    ),
    "grouped transposed": _both(lambda: nn.ConvTranspose2d(12, 8, 2, groups=4), 8, stem=4),
    "depthwise transposed": _both(lambda: nn.ConvTranspose2d(12, 12, 2, groups=12)),
    "grouped and normalised": _both(
        lambda: nn.Sequential(nn.Conv2d(12, 8, 1, groups=2), nn.GroupNorm(4, 8)), 8, stem=2
    ),
    "standardised filters": Case(
        lambda: Standardised(12, 9, 3), {"stem": 12, "middle": 9, "last": 6}, 9, inexact=True
    ),
    "standardised kernels": Case(
        lambda: StandardisedKernels(12, 9, 3), {"stem": 12, "middle": 9, "last": 6}, 9
    ),
    "branches": _both(Branches),
    "prelu": _both(lambda: nn.PReLU(12)),
    "single prelu": _both(nn.PReLU),
    "recurrent": _only_last(Recurrent, "a recurrent layer (LSTM) keeps its channels: 'middle.rnn'"),
    "selective kernel": Case(
        SelectiveKernel, {"stem": 12, "middle.one": 12, "middle.squeeze": 5, "last": 6}
    ),
    "max out": Case(MaxOut, {"stem": 12, "middle.pieces": 5, "last": 6}, 5),
    "spatial gate": Case(SpatialGate, {"stem": 12, "last": 6}, inexact=True),
    "channel convolution": _only_last(ChannelConvolution, "convolution runs over its channels"),
    "upscaled": Case(Upscaled, {"stem": 12, "middle.coarse": 7, "last": 6}, 20),
    "blurred": _both(Blurred),
    "experts": Case(
        Experts, {"stem": 12, "middle.one": 7, "last": 6}, 7, {"middle.gate": "softmax"}
    ),
    "gram": Case(Gram, {"stem": 12, "last": 6}, 20, {"middle.one": "must stay together"}),
    "conditioned": _both(Conditioned),
    "softmax over channels": _only_last(lambda: nn.Softmax(1), "softmax runs over its channels"),
    "dropout": _both(nn.Dropout2d),
}
