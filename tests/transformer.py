"""A small transformer for digits, the rows of an image as its tokens; untrained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEADS, WIDTH, HIDDEN = 4, 32, 48


class Block(nn.Module):
    """Attention and an MLP, each added to what they read."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.size = HEADS, WIDTH // HEADS
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], 3, self.heads, self.size)
        q, k, v = self.qkv(self.norm1(x)).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        read = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(read.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """Two blocks between an embedding and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.norm(self.blocks(self.embed(x.squeeze(1)))).mean(1))


def transformer() -> Transformer:
    """Build the network, the same one every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Transformer().eval()
