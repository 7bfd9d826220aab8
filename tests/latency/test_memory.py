"""The peak of activations, computed by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlprune.latency.memory import peak_activation_bytes

FLOAT = 4


def test_a_chain_holds_two_neighbours_at_its_widest() -> None:
    network = nn.Sequential(
        nn.Linear(4, 100), nn.ReLU(), nn.Linear(100, 10), nn.ReLU(inplace=True)
    ).eval()
    # 100 and their ReLU: the argument is alive until its module has returned
    assert peak_activation_bytes(network, torch.zeros(2, 4)) == 2 * (100 + 100) * FLOAT


def test_the_input_and_views_of_it_do_not_count() -> None:
    assert peak_activation_bytes(nn.Flatten().eval(), torch.zeros(2, 3, 4)) == 0


def test_what_a_shortcut_keeps_alive_counts() -> None:
    class Residual(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x + 1  # kept
            y = (x * 2).relu()  # both alive in between
            return x + y

    assert peak_activation_bytes(Residual().eval(), torch.zeros(5)) == 3 * 5 * FLOAT


def test_memory_is_freed_between_passes() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()).eval()
    once = peak_activation_bytes(network, torch.zeros(1, 1, 8, 8))
    assert once == 2 * 8 * 64 * FLOAT
    assert peak_activation_bytes(network, torch.zeros(2, 1, 8, 8)) == 2 * once
