"""Layers that the user keeps are never touched, whatever the plan."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rlprune.errors import UnknownNameError
from rlprune.graph.trace import trace
from rlprune.surgery.plan import Plan
from tests import nets
from tests.oracles import assert_exact, random_plan
from tests.surgery.attention_nets import FEATURES, TOKENS, TransformerLayers
from tests.surgery.block_nets import Stages


def stages() -> Stages:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nets.unlike_initial(Stages()).eval()


def layers_of(model: nn.Module, pattern: str) -> list[str]:
    prefix = pattern.removesuffix("*").removesuffix(".")
    return [name for name, _ in model.named_modules() if f"{name}.".startswith(f"{prefix}.")]


@pytest.mark.parametrize(
    "keep",
    [
        ["stem"],
        ["stem.0"],
        ["stages.0.0"],
        ["stages.0.1.one"],
        ["stages.1.*"],
        ["stages.1.0.bn"],
        ["stages.0.0.one", "stages.1.1"],
        ["head"],
        ["stages.?.1.two"],
    ],
)
def test_kept_layers_are_unchanged_in_every_plan(keep: list[str]) -> None:
    model = stages()
    graph = trace(model, nets.images(2), keep=keep)
    names = [
        name
        for pattern in keep
        for name in (
            [f"stages.{i}.1.two" for i in (0, 1)] if "?" in pattern else layers_of(model, pattern)
        )
    ]
    for seed in range(8):
        plan = random_plan(graph, seed)
        small = plan.apply(model)
        for name in names:
            kept, was = small.get_submodule(name), model.get_submodule(name)
            assert type(kept) is type(was)
            for (key, ours), theirs in zip(
                kept.state_dict().items(), was.state_dict().values(), strict=True
            ):
                assert torch.equal(ours, theirs), (name, key)
        assert_exact(model, plan, nets.images(3))


def test_the_rest_is_pruned_as_before() -> None:
    free, kept = (
        trace(stages(), nets.images(2)),
        trace(stages(), nets.images(2), keep=["stages.0.*"]),
    )
    assert set(kept.names) == set(free.names) - {
        "stem.0",
        "stages.0.0.one",
        "stages.0.1.one",
        "stages.0.0 (block)",
        "stages.0.1 (block)",
    }
    for name in kept.names:
        assert kept.group(name) == free.group(name)
    reasons = {item.name: item.reason for item in kept.left_out}
    assert reasons["stages.0.0.one"] == "kept by the user (stages.0.*)"
    assert reasons["stages.0.0 (block)"] == "kept by the user (stages.0.*)"


def test_a_block_stays_when_something_inside_it_is_kept() -> None:
    graph = trace(stages(), nets.images(2), keep=["stages.1.1.one"])
    assert "stages.1.1 (block)" not in graph.names
    assert "stages.0.1 (block)" in graph.names


def test_heads_can_be_kept() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 8), TransformerLayers(), nn.Linear(8, 3)).eval()
    tokens = torch.randn(2, TOKENS, FEATURES)
    graph = trace(model, tokens, keep=["1.layers.layers.0.self_attn"])
    heads = [group.name for group in graph.groups if group.kind == "heads"]
    assert heads == ["1.layers.layers.1.self_attn.in_proj_weight"]
    small = Plan.uniform(graph, 0.25).apply(model)
    attention = [small[1].layers.layers[i].self_attn for i in (0, 1)]
    assert [one.num_heads for one in attention] == [4, 1]


def test_a_pattern_that_matches_nothing_is_answered_with_the_closest_layer() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'stages\.0\.1\.one'"):
        trace(stages(), nets.images(2), keep=["stem", "stages.0.1.onr"])


def test_many_layers_are_not_all_listed() -> None:
    with pytest.raises(UnknownNameError, match="and 8 more") as caught:
        trace(stages(), nets.images(2), keep=["zzz"])
    assert "did you mean" not in str(caught.value)


def test_everything_can_be_kept() -> None:
    graph = trace(stages(), nets.images(2), keep=["*"])
    assert graph.groups == ()
    assert graph.params() == sum(p.numel() for p in stages().parameters())
