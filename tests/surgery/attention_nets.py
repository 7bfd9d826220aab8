"""Tiny transformers for tokens of shape (6, 5), one way of writing attention each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOKENS, FEATURES, WIDTH, HEADS = 6, 5, 8, 4


class Encoder(nn.Module):
    """One residual layer between an embedding and a head."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.mixer = mixer
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.mixer(self.norm(x))
        return self.head(x.mean(1))


class Fused(nn.Module):
    """One layer for queries, keys and values; sizes come from attributes, as in timm."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim = HEADS, WIDTH // HEADS
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q * self.scale @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, c))


class FusedKernel(Fused):
    """PyTorch's fused kernel, which derives the scale from the size of a head."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


class DividedWidth(Fused):
    """The size of a head, and with it the scale, is the width divided by the number of heads."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        size = c // self.num_heads
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, size).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) / math.sqrt(size)).softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, c))


class Separate(nn.Module):
    """Queries, keys and values of their own, as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim = HEADS, WIDTH // HEADS
        self.all_heads = self.num_heads * self.head_dim
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.proj = nn.Linear(WIDTH, WIDTH)

    def split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.num_heads, self.head_dim).permute(0, 2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
        context = (scores.softmax(-1) @ v).permute(0, 2, 1, 3).contiguous()
        return self.proj(context.view(*context.shape[:-2], self.all_heads))


class Folded(Separate):
    """Heads folded into the batch, as in BART; the number of tokens is left to PyTorch."""

    def split(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        heads = x.view(b, n, self.num_heads, self.head_dim).transpose(1, 2).contiguous()
        return heads.view(b * self.num_heads, -1, self.head_dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        weights = torch.bmm(q * self.head_dim**-0.5, k.transpose(1, 2)).softmax(-1)
        context = torch.bmm(weights, v).view(b, self.num_heads, n, self.head_dim)
        return self.proj(context.transpose(1, 2).reshape(b, n, c))


class FoldedByConstants(Folded):
    """The same with numbers in the place of attributes."""

    def split(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        return x.view(b, n, 4, 2).transpose(1, 2).reshape(b * 4, -1, 2)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        weights = torch.bmm(q * 2**-0.5, k.transpose(1, 2)).softmax(-1)
        context = torch.bmm(weights, v).view(b, 4, n, 2)
        return self.proj(context.transpose(1, 2).reshape(b, n, c))


class GroupedQuery(nn.Module):
    """Two heads of keys and values, each shared by two heads of queries, as in Llama."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = HEADS, 2, WIDTH // HEADS
        self.q = nn.Linear(WIDTH, WIDTH)
        self.k = nn.Linear(WIDTH, self.num_kv_heads * self.head_dim)
        self.v = nn.Linear(WIDTH, self.num_kv_heads * self.head_dim)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def shared(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        x = x.view(b, n, self.num_kv_heads, self.head_dim).transpose(1, 2)
        return x.repeat_interleave(self.num_heads // self.num_kv_heads, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self.q(x).view(b, n, self.num_heads, self.head_dim).transpose(1, 2)
        x = F.scaled_dot_product_attention(q, self.shared(self.k(x)), self.shared(self.v(x)))
        return self.proj(x.transpose(1, 2).reshape(b, n, -1))


class GroupedQueryExpanded(GroupedQuery):
    """The same by expanding a new dimension."""

    def shared(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        x = x.view(b, n, self.num_kv_heads, self.head_dim).transpose(1, 2)
        _, heads, n, d = x.shape
        x = x[:, :, None, :, :].expand(b, heads, 2, n, d)
        return x.reshape(b, heads * 2, n, d)


class MultiQuery(GroupedQuery):
    """A single head of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.k, self.v = nn.Linear(WIDTH, self.head_dim), nn.Linear(WIDTH, self.head_dim)

    def shared(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self.q(x).view(b, n, self.num_heads, self.head_dim).transpose(1, 2)
        scores = q @ self.shared(self.k(x)).transpose(-1, -2) * self.head_dim**-0.5
        x = scores.softmax(-1) @ self.shared(self.v(x))
        return self.proj(x.transpose(1, 2).reshape(b, n, -1))


class Rotary(Separate):
    """Rotary positions: halves of every head are swapped."""

    def split(self, x: Tensor) -> Tensor:
        heads = super().split(x)
        first, second = heads.chunk(2, -1)
        angle = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)[:, None]
        return heads * angle.cos() + torch.cat([-second, first], -1) * angle.sin()


class Einsum(nn.Module):
    """Heads as a dimension of free parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Parameter(torch.randn(3, HEADS, WIDTH, 2) / 3)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = torch.einsum("bnc,jhcd->jbhnd", x, self.qkv)
        weights = torch.einsum("bhnd,bhmd->bhnm", q, k).softmax(-1)
        return self.proj(torch.einsum("bhnm,bhmd->bnhd", weights, v).flatten(2))


class Windowed(nn.Module):
    """Two shifted windows of three tokens with a bias per head and distance, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.window = HEADS, 3
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.table = nn.Parameter(torch.randn(2 * self.window - 1, HEADS))
        place = torch.arange(self.window)
        self.register_buffer("index", place[:, None] - place[None] + self.window - 1)
        shown = torch.zeros(2, self.window, self.window)
        shown[1, 0, 1:] = shown[1, 1:, 0] = -100.0
        self.register_buffer("mask", shown)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        x = torch.roll(x, -1, 1).view(b * n // self.window, self.window, c)
        windows, w, _ = x.shape
        q, k, v = self.qkv(x).view(windows, w, 3, self.num_heads, 2).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * 2**-0.5
        bias = self.table[self.index.view(-1)].view(w, w, -1).permute(2, 0, 1)
        scores = scores + bias.unsqueeze(0)
        scores = scores.view(b, 2, self.num_heads, w, w) + self.mask[:, None]
        x = scores.view(-1, self.num_heads, w, w).softmax(-1) @ v
        x = self.proj(x.transpose(1, 2).reshape(windows, w, c))
        return torch.roll(x.view(b, n, c), 1, 1)


class Temperature(Fused):
    """Cosine attention with a learned temperature for every head, as in Swin V2."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.rand(HEADS, 1, 1) + 1)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        x = (scores * self.temperature.exp()).softmax(-1) @ v
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class TalkingHeads(Fused):
    """Layers that mix heads before and after the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(HEADS, HEADS), nn.Linear(HEADS, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)
        weights = self.after(self.before(scores).softmax(-2)).permute(0, 3, 1, 2)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, c))


class Pooled(nn.Module):
    """A learned query per head reads all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, HEADS, 1, 2))
        self.kv, self.proj = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        k, v = self.kv(x).view(b, n, 2, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (self.query @ k.transpose(-1, -2)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, 1, c))


class Standard(nn.Module):
    """nn.MultiheadAttention."""

    def __init__(self, need_weights: bool = False, **options: object) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, **options)
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        if not self.attention.batch_first:
            x = x.transpose(0, 1)
        x = self.attention(x, x, x, need_weights=self.need_weights)[0]
        return x if self.attention.batch_first else x.transpose(0, 1)


class StandardThenGated(nn.Module):
    """A split of known sizes in the same forward as nn.MultiheadAttention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.wide, self.narrow = nn.Linear(WIDTH, 12), nn.Linear(6, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x, x, x)[0]
        gate, value = self.wide(x).split([6, 6], -1)
        return self.narrow(gate.sigmoid() * value)


class SwiGLU(nn.Module):
    """Two halves of one layer, one of which gates the other."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(WIDTH, 24), nn.Linear(12, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.wide(x).chunk(2, -1)
        return self.narrow(F.silu(gate) * value)


class SwiGLUBySizes(SwiGLU):
    def forward(self, x: Tensor) -> Tensor:
        both = self.wide(x)
        return self.narrow(F.silu(both[..., :12]) * both[..., 12:])


class TransformerLayer(nn.Module):
    """nn.TransformerEncoderLayer, which takes a fused path in eval mode."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 10, dropout=0.0, batch_first=True, **options
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class TransformerLayers(nn.Module):
    """nn.TransformerEncoder with two layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 10, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@dataclass(frozen=True)
class Case:
    """A way to mix tokens, and what is to become of its channels.

    Attributes:
        build: the module.
        units: `{group: number of heads or channels that can go}`.
        heads: `{attribute: group}` of attributes that count the units of a group.
        inexact: whether scores lose terms, which no dense network does.
    """

    build: Callable[[], nn.Module]
    units: dict[str, int]
    heads: dict[str, str] = field(default_factory=dict)
    inexact: bool = False


NUM_HEADS = {"num_heads": "qkv"}
IN_PROJECTION = "attention.in_proj_weight"
COUNTED = {"attention.num_heads": IN_PROJECTION}

CASES: dict[str, Case] = {
    "fused": Case(Fused, {"qkv": 4}, NUM_HEADS),
    "fused kernel": Case(FusedKernel, {"qkv": 4}, NUM_HEADS),
    "divided width": Case(DividedWidth, {"qkv": 4}),
    "separate": Case(Separate, {"q": 4}, {"num_heads": "q"}),
    "folded": Case(Folded, {"q": 4}, {"num_heads": "q"}),
    "folded by constants": Case(FoldedByConstants, {"q": 4}),
    "grouped query": Case(GroupedQuery, {"q": 2}, {"num_kv_heads": "q"}),
    "grouped query expanded": Case(GroupedQueryExpanded, {"q": 2}, {"num_kv_heads": "q"}),
    # every head of queries meets the same keys and values: whole heads have no product of their own
    "multi query": Case(MultiQuery, {"v": 2}),
    "einsum": Case(Einsum, {}),
    "rotary": Case(Rotary, {"q": 4}, {"num_heads": "q"}),
    "windowed": Case(Windowed, {"qkv": 4}, NUM_HEADS),
    "temperature": Case(Temperature, {"qkv": 4}, NUM_HEADS),
    "talking heads": Case(TalkingHeads, {"qkv": 4, "before": 4}),
    "pooled": Case(Pooled, {"kv": 4}),
    "standard": Case(lambda: Standard(batch_first=True), {IN_PROJECTION: 4}, COUNTED),
    "standard sequence first": Case(Standard, {IN_PROJECTION: 4}, COUNTED),
    "standard with weights": Case(
        lambda: Standard(need_weights=True, batch_first=True), {IN_PROJECTION: 4}, COUNTED
    ),
    "standard without bias": Case(
        lambda: Standard(bias=False, batch_first=True), {IN_PROJECTION: 4}, COUNTED
    ),
    "standard with key bias": Case(lambda: Standard(add_bias_kv=True, batch_first=True), {}),
    "standard with zero key": Case(lambda: Standard(add_zero_attn=True, batch_first=True), {}),
    "standard then gated": Case(
        StandardThenGated, {IN_PROJECTION: 4, "attention.out_proj": 8, "wide": 6}, COUNTED
    ),
    "swiglu": Case(SwiGLU, {"wide": 12}),
    "swiglu by sizes": Case(SwiGLUBySizes, {"wide": 12}),
    "transformer layer": Case(
        TransformerLayer,
        {"layer.self_attn.in_proj_weight": 4, "layer.linear1": 10},
        {"layer.self_attn.num_heads": "layer.self_attn.in_proj_weight"},
    ),
    "transformer layer norm first": Case(
        lambda: TransformerLayer(norm_first=True),
        {"layer.self_attn.in_proj_weight": 4, "layer.linear1": 10, "layer (block)": 1},
        {"layer.self_attn.num_heads": "layer.self_attn.in_proj_weight"},
    ),
}
