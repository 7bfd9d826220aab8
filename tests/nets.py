"""Tiny networks for images of shape (1, 8, 8), one special structure each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE = (1, 8, 8)


class Head(nn.Module):
    """Ten logits from a feature map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.mean((2, 3)))


class Ghost(nn.Module):
    """Ghost module (Han et al., 2020) with a residual: channels i and i + half are tied."""

    def __init__(self, half: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2 * half, 3, padding=1)
        self.primary = nn.Conv2d(2 * half, half, 1, bias=False)
        self.bn = nn.BatchNorm2d(half)
        self.cheap = nn.Conv2d(half, half, 3, padding=1, groups=half)
        self.mix = nn.Conv2d(2 * half, 12, 1)
        self.head = Head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        first = F.relu(self.bn(self.primary(x)))
        x = x + torch.cat([first, self.cheap(first)], 1)
        return self.head(F.relu(self.mix(x)))


class WideGhost(nn.Module):
    """A Ghost module whose group is rooted, in torch-pruning, in a layer of both halves."""

    def __init__(self, half: int = 8) -> None:
        super().__init__()
        self.primary = nn.Conv2d(1, half, 3, padding=1)
        self.cheap = nn.Conv2d(half, half, 3, padding=1, groups=half)
        self.shortcut = nn.Conv2d(1, 2 * half, 1)
        self.mix = nn.Conv2d(2 * half, 12, 1)
        self.head = Head(12)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.primary(x))
        both = torch.cat([first, self.cheap(first)], 1)
        return self.head(F.relu(self.mix(F.relu(both + self.shortcut(x)))))


class Shared(nn.Module):
    """One convolution applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.shared = nn.Conv2d(12, 12, 3, padding=1)
        self.last = nn.Conv2d(12, 10, 1)
        self.head = Head(10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.shared(F.relu(self.shared(x))))
        return self.head(F.relu(self.last(x)))


class Flattened(nn.Module):
    """A convolution read by a linear layer, 16 columns for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 10, 3, padding=1)
        self.bn = nn.BatchNorm2d(10)
        self.act = nn.PReLU(10)
        self.hidden = nn.Linear(160, 24)
        self.classifier = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.act(self.bn(self.conv(x))), 2)
        return self.classifier(F.relu(self.hidden(x.flatten(1))))


class Transposed(nn.Module):
    """An autoencoder with transposed convolutions, one of them depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 12, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.bn = nn.BatchNorm2d(8)
        self.depthwise = nn.ConvTranspose2d(8, 8, 3, padding=1, groups=8)
        self.output = nn.ConvTranspose2d(8, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.up(F.relu(self.down(x))))
        return self.output(F.relu(self.depthwise(x)))


class Concat(nn.Module):
    """Three producers concatenated, one of them twice, read by one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 6, 3, padding=1)
        self.b = nn.Conv2d(1, 10, 3, padding=1)
        self.c = nn.Conv2d(6, 8, 1)
        self.bn = nn.BatchNorm2d(30)
        self.mix = nn.Conv2d(30, 14, 1)
        self.head = Head(14)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        x = torch.cat([a, self.c(F.relu(a)), b, a], 1)
        return self.head(F.relu(self.mix(F.relu(self.bn(x)))))


class Gated(nn.Module):
    """Squeeze and excitation (Hu et al., 2018): a gate multiplies every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, padding=1)
        self.squeeze = nn.Conv2d(12, 6, 1)
        self.excite = nn.Conv2d(6, 12, 1)
        self.mix = nn.Conv2d(12, 9, 1)
        self.head = Head(9)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        gate = self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return self.head(F.relu(self.mix(x * torch.sigmoid(gate))))


class Series(nn.Module):
    """One-dimensional convolutions over the rows of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(8, 12, 3, padding=1)
        self.bn = nn.BatchNorm1d(12)
        self.second = nn.Conv1d(12, 8, 3)
        self.classifier = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.first(x.squeeze(1))))
        return self.classifier(F.relu(self.second(x)).flatten(1))


class Grouped(nn.Module):
    """A grouped convolution that is not depthwise, then layers that can be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.free = nn.Conv2d(8, 12, 1)
        self.head = Head(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.free(F.relu(self.grouped(F.relu(self.stem(x)))))))


class Normalised(nn.Module):
    """GroupNorm on one convolution, none on the next."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.free = nn.Conv2d(8, 12, 1)
        self.head = Head(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.free(F.relu(self.norm(self.stem(x))))))


class Tied(nn.Module):
    """Two linear layers that hold one weight, between layers that can be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 12)
        self.one = nn.Linear(12, 12)
        self.two = nn.Linear(12, 12)
        self.two.weight = self.one.weight
        self.free = nn.Linear(12, 16)
        self.classifier = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x.flatten(1)))
        x = F.relu(self.two(F.relu(self.one(x))))
        return self.classifier(F.relu(self.free(x)))


class Keywords(nn.Module):
    """Another network behind keyword arguments, its output among others."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *, scale: Tensor, image: Tensor) -> dict[str, Tensor]:
        return {"hidden": scale, "logits": self.network(image) * scale}


PRUNABLE: dict[str, Callable[[], nn.Module]] = {
    "ghost": Ghost,
    "wide_ghost": WideGhost,
    "shared": Shared,
    "flattened": Flattened,
    "transposed": Transposed,
    "concat": Concat,
    "gated": Gated,
    "series": Series,
    "grouped": Grouped,
    "normalised": Normalised,
    "tied": Tied,
}


def build(name: str, seed: int = 0) -> nn.Module:
    """Build a network in eval mode with statistics and scales unlike the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return unlike_initial(PRUNABLE[name]()).eval()


def unlike_initial(network: nn.Module) -> nn.Module:
    """Give normalisation layers random weights and statistics, in place."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm):
            if getattr(module, "running_mean", None) is not None:
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 2.0)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


def images(n: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(n, *IMAGE, generator=torch.Generator().manual_seed(seed))
