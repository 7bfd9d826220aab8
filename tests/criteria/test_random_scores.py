"""Random scores come from the probe's seed alone."""

from __future__ import annotations

from dataclasses import replace

import torch

from rlprune.criteria.random_scores import RandomScores
from tests.criteria.probing import Chain, probe_of, seeded


def test_another_seed_gives_other_scores() -> None:
    probe = probe_of(seeded(Chain))
    first = RandomScores().channels(probe)["first"]
    assert not torch.equal(first, RandomScores().channels(replace(probe, seed=1))["first"])
    torch.manual_seed(5)
    assert torch.equal(first, RandomScores().channels(probe)["first"])


def test_draws_are_spread_over_zero_to_one() -> None:
    draws = RandomScores().weights(probe_of(seeded(Chain)))["second.weight"]
    assert draws.shape == (5, 6, 3, 3)
    assert 0.4 < draws.mean() < 0.6
    assert 0 <= draws.min() < 0.05
    assert 0.95 < draws.max() < 1
