"""Tensors that no state dict holds: buffers that are built, and what modules remember."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from rlprune.graph.trace import trace
from rlprune.surgery.plan import Plan
from tests.oracles import assert_exact, outputs, plans
from tests.surgery.attention_nets import FEATURES, TOKENS, Encoder
from tests.surgery.factories import CachedBias, KeyBias


def tokens(n: int = 5) -> Tensor:
    return torch.randn(n, TOKENS, FEATURES, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def cached() -> Encoder:
    torch.manual_seed(0)
    return Encoder(CachedBias()).eval()


def test_buffers_that_are_not_saved_are_sliced_with_their_heads() -> None:
    torch.manual_seed(0)
    model = Encoder(KeyBias()).eval()
    graph = trace(model, tokens(2))
    assert [(group.name, group.kind) for group in graph.groups] == [("mixer.qkv", "heads")]
    assert not graph.tensors["mixer.k_bias"].is_saved
    channels = [c for c in range(24) if graph.groups[0].atoms[c] in (1, 3)]
    small = Plan({"mixer.qkv": channels}, graph).apply(model)
    assert "mixer.k_bias" not in small.state_dict()
    assert torch.equal(small.mixer.k_bias, model.mixer.k_bias[[2, 3, 6, 7]])
    for plan in plans(graph):
        assert_exact(model, plan, tokens())


def test_a_module_that_has_cached_tensors_is_traced_and_pruned_as_if_it_had_not(
    cached: Encoder,
) -> None:
    fresh = trace(copy.deepcopy(cached), tokens(2))
    outputs(cached, tokens())
    assert cached.mixer.cache
    remembered = dict(cached.mixer.cache)
    graph = trace(cached, tokens(2))
    assert graph == fresh
    assert [group.kind for group in graph.groups] == ["heads"]
    for plan in plans(graph):
        small = plan.apply(cached)
        assert small.mixer.cache == {}
        assert small.mixer.biases.shape[0] == small.mixer.num_heads
        cold = copy.deepcopy(cached).train().eval()
        assert_exact(cold, plan, tokens())
    assert cached.mixer.cache.keys() == remembered.keys()
    assert all(cached.mixer.cache[key] is remembered[key] for key in remembered)
    assert not cached.training


def test_a_cache_of_a_pruned_network_is_its_own(cached: Encoder) -> None:
    graph = trace(cached, tokens(2))
    group = graph.groups[0]
    small = Plan({group.name: group.keep_best(range(group.width), group.step)}, graph).apply(cached)
    outputs(small, tokens())
    assert next(iter(small.mixer.cache.values())).shape == (1, TOKENS, TOKENS)
    outputs(cached, tokens())
    assert next(iter(cached.mixer.cache.values())).shape == (4, TOKENS, TOKENS)
