"""A pruned network comes back from its plain state dict, bit for bit, or is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rlprune
from rlprune.errors import PlanError
from rlprune.graph.trace import trace
from rlprune.surgery.plan import Plan
from tests import nets
from tests.oracles import assert_same_tensors, outputs, random_plan
from tests.surgery.block_nets import Stages
from tests.surgery.test_structures import NAMES, subject_of


def other_weights(model: nn.Module) -> nn.Module:
    """The same architecture, as a user who has nothing but a state dict would build it."""
    with torch.random.fork_rng():
        torch.manual_seed(99)
        other = copy.deepcopy(model)
        for parameter in other.parameters():
            nn.init.normal_(parameter)
    return other


@pytest.mark.parametrize("name", NAMES)
def test_a_random_plan_comes_back_from_a_plain_state_dict(name: str) -> None:
    subject = subject_of(name)
    for seed in range(3):
        small = random_plan(subject.graph, seed).apply(subject.dense)
        state = {key: tensor.clone() for key, tensor in small.state_dict().items()}
        again = rlprune.restore(other_weights(subject.dense), state, subject.inputs[:2])
        assert_same_tensors(again, small)
        assert torch.equal(outputs(again, subject.inputs), outputs(small, subject.inputs))
        assert not again.training


@pytest.mark.parametrize("seed", range(5))
def test_removed_blocks_come_back_removed(seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = nets.unlike_initial(Stages()).eval()
    graph = trace(dense, nets.images(2))
    removed = list(graph.blocks)[seed % 3]
    plan = random_plan(graph, seed)
    plan = Plan({**plan.kept, f"{removed} (block)": []}, graph)
    small = plan.apply(dense)
    again = rlprune.restore(other_weights(dense), small.state_dict(), nets.images(2))
    assert_same_tensors(again, small)
    assert torch.equal(outputs(again, nets.images()), outputs(small, nets.images()))
    assert isinstance(again.get_submodule(removed), nn.Identity)


def test_the_residual_width_comes_back_when_asked_for() -> None:
    subject = subject_of("tokens: transformer layer")
    graph = trace(subject.dense, subject.inputs[:2], residual_width=True)
    small = Plan({"embed": range(5)}, graph).apply(subject.dense)
    dense, few, state = other_weights(subject.dense), subject.inputs[:2], small.state_dict()
    again = rlprune.restore(dense, state, few, residual_width=True)
    assert torch.equal(outputs(again, subject.inputs), outputs(small, subject.inputs))
    with pytest.raises(PlanError, match="'embed"):
        rlprune.restore(dense, state, few)


def test_the_dense_network_is_left_as_it_is_and_a_dense_state_dict_restores_it() -> None:
    subject = subject_of("image: branches")
    dense = other_weights(subject.dense).train()
    before = copy.deepcopy(dense)
    again = rlprune.restore(dense, subject.dense.state_dict(), subject.inputs[:2])
    assert_same_tensors(again, subject.dense)
    assert_same_tensors(dense, before)
    assert dense.training


State = dict[str, Tensor]


def replaced(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[State], Any]:
    def replace(state: State) -> None:
        state[name] = change(state[name])

    return replace


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replaced("middle.squeeze.weight", lambda t: t[:-1]), "middle.squeeze"),
        (replaced("stem.weight", lambda t: t[:-1]), "'stem.*group stem"),
        (replaced("stem.bias", lambda t: t[:-1]), "group stem"),
        (replaced("stem.weight", lambda t: t.repeat(3, 1, 1, 1)), "'stem.weight'.*group 'stem'"),
        (replaced("head.classifier.weight", lambda t: t[:5]), r"'head\.classifier\.weight'"),
        (replaced("last.weight", lambda t: t.half()), r"'last\.weight'.*float32.*found float16"),
        (replaced("last.weight", lambda t: t.flatten()), r"'last\.weight'"),
        (replaced("last.weight", lambda t: t[0]), r"'last\.weight'"),
        (lambda state: state.pop("last.bias"), r"has no tensor 'last\.bias'"),
        (lambda state: state.update(more=torch.ones(1)), "should not have a tensor 'more'"),
        (lambda state: state.clear(), r"has no tensor 'stem\.weight'"),
    ],
)
def test_another_state_dict_is_refused_by_group_or_tensor(
    change: Callable[[State], Any], words: str
) -> None:
    subject = subject_of("image: selective kernel")
    small = random_plan(subject.graph, 2).apply(subject.dense)
    state = dict(small.state_dict())
    change(state)
    with pytest.raises(PlanError, match=words) as caught:
        rlprune.restore(subject.dense, state, subject.inputs[:2])
    assert "\n" not in str(caught.value)


def test_half_a_head_is_refused_with_the_step() -> None:
    subject = subject_of("tokens: fused")
    state = dict(random_plan(subject.graph, 0).apply(subject.dense).state_dict())
    state["mixer.proj.weight"] = state["mixer.proj.weight"][:, :3]
    with pytest.raises(PlanError, match=r"group 'mixer\.qkv', which go in steps of 6"):
        rlprune.restore(subject.dense, state, subject.inputs[:2])
