"""Positions of channels in a dimension, and means over atoms."""

from __future__ import annotations

import torch

from rlprune.criteria.places import over_atoms, positions_of
from rlprune.graph.group_graph import ALWAYS_KEPT, Group


def test_positions_follow_runs_of_several_groups_and_skip_what_always_stays() -> None:
    found = positions_of(((0, 2, 3), (ALWAYS_KEPT, 0, 2), (1, 0, 2), (0, 0, 1)))
    assert {g: (p.tolist(), r.tolist()) for g, (p, r) in found.items()} == {
        0: ([0, 1, 2, 7], [2, 3, 4, 0]),
        1: ([5, 6], [0, 1]),
    }


def test_every_channel_gets_the_mean_of_its_atom() -> None:
    tied = Group(name="tied", width=4, members=("tied",), step=2, atoms=(0, 1, 0, 1))
    values = torch.tensor([1.0, 2.0, 3.0, 6.0]).double()
    assert over_atoms(tied, values).tolist() == [2, 4, 2, 4]
    counts = torch.tensor([1, 0, 0, 2])
    assert over_atoms(tied, torch.tensor([5.0, 0, 0, 6.0]).double(), counts).tolist() == [5, 3] * 2


def test_channels_of_their_own_keep_their_values() -> None:
    free = Group(name="free", width=3, members=("free",))
    assert over_atoms(free, torch.tensor([3.0, 1.0, 2.0]).double()).tolist() == [3, 1, 2]
