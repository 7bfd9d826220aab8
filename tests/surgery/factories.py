"""Networks by name, importable where torch-pruning is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from tests.surgery import attention_nets, block_nets, image_nets
from tests.surgery.attention_nets import HEADS, WIDTH, Encoder, Fused


class KeyBias(Fused):
    """Keys have a bias that is zero and no parameter, as in BEiT."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.q_bias = nn.Parameter(torch.randn(WIDTH))
        self.v_bias = nn.Parameter(torch.randn(WIDTH))
        self.register_buffer("k_bias", torch.linspace(-1, 1, WIDTH), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        bias = torch.cat((self.q_bias, self.k_bias, self.v_bias))
        qkv = nn.functional.linear(x, self.qkv.weight, bias)
        q, k, v = qkv.reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        attention = (q * self.scale @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, c))


class CachedBias(Fused):
    """Biases per head and distance, looked up once and kept while evaluating, as in LeViT."""

    def __init__(self) -> None:
        super().__init__()
        self.biases = nn.Parameter(torch.randn(HEADS, attention_nets.TOKENS))
        place = torch.arange(attention_nets.TOKENS)
        self.register_buffer("index", (place[:, None] - place).abs(), persistent=False)
        self.cache: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> CachedBias:
        super().train(mode)
        if mode:
            self.cache = {}
        return self

    def bias(self, device: torch.device) -> Tensor:
        if self.training:
            return self.biases[:, self.index]
        if str(device) not in self.cache:
            self.cache[str(device)] = self.biases[:, self.index]
        return self.cache[str(device)]

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = q * self.scale @ k.transpose(-2, -1) + self.bias(x.device)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


def _tokens(name: str) -> nn.Module:
    return Encoder(attention_nets.CASES[name].build())


def _image(name: str) -> nn.Module:
    case = image_nets.CASES[name]
    return image_nets.Between(case.build(), case.channels)


def _key_bias() -> nn.Module:
    return Encoder(KeyBias())


def _cached_bias() -> nn.Module:
    return Encoder(CachedBias())


FACTORIES: dict[str, Callable[[], nn.Module]] = {
    **{f"tokens: {name}": partial(_tokens, name) for name in attention_nets.CASES},
    **{
        f"image: {name}": partial(_image, name)
        for name in ("two shuffle units", "splits", "slices", "convnext", "grouped", "max out")
    },
    "image: stages": block_nets.Stages,
    "tokens: key bias": _key_bias,
    "tokens: cached bias": _cached_bias,
}
