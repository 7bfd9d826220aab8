"""Batches hold every sample once, fit into memory and, where they can, into the cache."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlprune.evaluate.batches import (
    MOST_ELEMENTS,
    MOST_POSITIONS,
    MOST_SAMPLES,
    affordable,
    batches_of,
    most_at_once,
)


@given(count=st.integers(1, 3000), most=st.none() | st.integers(2, 600), side=st.integers(1, 300))
def test_batches_hold_every_sample_once_fit_and_are_never_of_one_unless_there_is_no_other(
    count: int, most: int | None, side: int
) -> None:
    samples = torch.arange(count).reshape(count, 1, 1).expand(count, side, side)
    batches = batches_of(samples, most)
    assert torch.equal(torch.cat([b[:, 0, 0] for b in batches]), samples[:, 0, 0])  # type: ignore[call-overload,index]
    sizes = [len(b) for b in batches]
    assert max(sizes) <= max(3, most or MOST_SAMPLES)
    assert most or max(sizes) <= max(4, MOST_ELEMENTS / side**2)
    assert most or max(sizes) <= max(32, MOST_POSITIONS / side)
    assert min(sizes) > 1 or count == 1
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("shape", "samples"), [((1, 14, 14), 512), ((3, 32, 32), 128), ((3, 224, 224), 32), ((8,), 512)]
)
def test_a_batch_of_images_of_the_usual_sizes(shape: tuple[int, ...], samples: int) -> None:
    inputs = torch.zeros(1).expand(4 * MOST_SAMPLES, *shape)
    assert {len(batch) for batch in batches_of(inputs) if isinstance(batch, Tensor)} == {samples}
    assert most_at_once(inputs) >= samples


@pytest.mark.parametrize(
    ("macs", "samples"), [(40e6, 512), (1e9, 64), (4.1e9, 16), (90e9, 16), (0, 512)]
)
def test_fewer_samples_score_plans_of_costly_networks(macs: float, samples: int) -> None:
    assert affordable(int(macs)) == samples
