"""Kept fractions follow mean norms, whatever else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlprune.allocate.norm_proportional import norm_proportional, norm_shares
from rlprune.problem import Problem
from tests.allocate.graphs import GRAPHS, channel_groups

GRAPH = GRAPHS["resnet20"]
MEANS = st.lists(st.floats(0.1, 10), min_size=len(GRAPH.groups), max_size=len(GRAPH.groups))


@given(means=MEANS, scale=st.floats(0.01, 100))
def test_shares_are_proportional_to_mean_norms_on_whatever_scale(
    means: list[float], scale: float
) -> None:
    noise = torch.tensor([0.5, 1.5], dtype=torch.float64)
    norms = {
        group.name: scale * mean * noise.repeat(group.width // 2 + 1)[: 2 * (group.width // 2) or 1]
        for group, mean in zip(GRAPH.groups, means, strict=True)
    }
    shares = norm_shares(GRAPH, norms)
    channels = channel_groups(GRAPH)
    wanted = np.array(means)[channels]
    assert shares[channels] == pytest.approx(wanted / wanted.max())
    assert (shares[GRAPH.is_block] == 1).all()


def test_groups_of_zeros_get_a_small_share_and_a_network_of_zeros_is_uniform() -> None:
    norms = {g.name: torch.ones(g.width, dtype=torch.float64) for g in GRAPH.groups}
    norms[GRAPH.names[0]].zero_()
    shares = norm_shares(GRAPH, norms)
    assert 0 < shares[0] < 0.05
    assert (shares[1:] == 1).all()
    zeros = {name: torch.zeros_like(one) for name, one in norms.items()}
    assert (norm_shares(GRAPH, zeros) == 1).all()


def test_the_plan_is_what_the_shares_decode_to(plain: Problem) -> None:
    norms = [np.mean(group.scores) for group in plain.graph.groups]
    assert norm_proportional(plain) == plain.decode(np.array(norms))
