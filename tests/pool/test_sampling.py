from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlprune.cost.budget import Budget
from rlprune.cost.costs import Costs
from rlprune.errors import UnknownNameError
from rlprune.graph.trace import trace
from rlprune.pool.networks import network
from rlprune.pool.sampling import FAMILIES, macs_of, sample
from rlprune.pool.specs import ResidualSpec, read_spec
from rlprune.surgery.plan import Plan

RESNET20 = ResidualSpec(
    blocks=(3, 3, 3), widths=(16, 32, 64), strides=(1, 2, 2), kernel=3, inner=None
)
DIGITS, FASHION = (1, 8, 8), (1, 14, 14)
SHAPES = (DIGITS, FASHION, (3, 4, 4), (3, 32, 32))


@pytest.mark.parametrize("shape", [DIGITS, FASHION], ids=["8", "14"])
@pytest.mark.parametrize("family", FAMILIES)
def test_samples_are_traced_and_pruned_to_three_tenths_of_their_macs(
    family: str, shape: tuple[int, int, int]
) -> None:
    spec = sample(family, shape, np.random.default_rng([3, shape[1]]))
    module = network(spec, shape[0], 10, shape[1]).eval()
    images = torch.randn(2, *shape)
    graph = trace(module, images)
    assert len(graph.groups) > 2
    assert graph.macs() == macs_of(spec, shape)
    costs = Costs(graph)
    widths = Budget.parse("macs=0.3").decode(costs, np.ones(len(graph.groups)))
    small = Plan.from_widths(graph, widths).apply(module)
    with torch.no_grad():
        assert small(images).shape == (2, 10)
    kept = sum(p.numel() for p in small.parameters()) / sum(p.numel() for p in module.parameters())
    assert kept < 0.9
    assert float(costs.kept("macs", widths)) <= 0.3


@settings(max_examples=20)
@given(
    family=st.sampled_from(FAMILIES),
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 2**63),
)
def test_every_seed_gives_a_valid_network_that_is_no_dearer_than_resnet20(
    family: str, shape: tuple[int, int, int], seed: int
) -> None:
    spec = sample(family, shape, np.random.default_rng(seed))
    assert spec.family == family
    assert spec.depth >= 4
    assert read_spec(spec.model_dump_json()) == spec
    assert spec == sample(family, shape, np.random.default_rng(seed))
    assert macs_of(spec, shape) <= macs_of(RESNET20, shape)
    module = network(spec, shape[0], 5, shape[1]).eval()
    with torch.no_grad():
        assert module(torch.zeros(1, *shape)).shape == (1, 5)
    assert min(p.shape[0] for p in module.parameters() if p.ndim == 4 or p.ndim == 2) >= 5


def test_samples_of_a_family_differ_in_depth_width_and_structure() -> None:
    specs = [sample("residual", DIGITS, np.random.default_rng(seed)) for seed in range(20)]
    blocks = [spec for spec in specs if isinstance(spec, ResidualSpec)]
    assert len(blocks) == 20
    assert len({spec.depth for spec in blocks}) > 5
    assert len({spec.widths for spec in blocks}) > 15
    assert {spec.inner is None for spec in blocks} == {True, False}
    assert {spec.kernel for spec in blocks} == {3, 5}
    assert len({spec.strides for spec in blocks}) > 4


def test_counting_costs_draws_nothing_from_the_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    sample("mlp", DIGITS, np.random.default_rng(0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_family_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown family 'resnet'.*residual"):
        sample("resnet", DIGITS, np.random.default_rng(0))
