"""Structures of many networks, each pruned for real: costs, outputs, gradients, sizes, copies."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.surgery.plan import Plan
from tests import nets
from tests.oracles import assert_exact, counted_macs, counted_params, outputs, plans, random_plan
from tests.surgery import attention_nets, image_nets

NAMES = (
    *(f"image: {name}" for name in image_nets.CASES),
    *(f"tokens: {name}" for name in attention_nets.CASES),
)


@dataclass(frozen=True)
class Subject:
    dense: nn.Module
    graph: GroupGraph
    inputs: Tensor
    units: dict[str, int]
    left_out: dict[str, str]
    heads: dict[str, str]
    inexact: bool


@cache
def subject_of(name: str) -> Subject:
    kind, _, key = name.partition(": ")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "image":
            case = image_nets.CASES[key]
            dense = image_nets.Between(case.build(), case.channels)
            inputs, units = nets.images(5), case.units
            left_out, heads, inexact = case.left_out, {}, case.inexact
        else:
            found = attention_nets.CASES[key]
            dense = attention_nets.Encoder(found.build())
            inputs = torch.randn(5, attention_nets.TOKENS, attention_nets.FEATURES)
            units = {f"mixer.{group}": count for group, count in found.units.items()}
            heads = {f"mixer.{a}": f"mixer.{group}" for a, group in found.heads.items()}
            left_out, inexact = {"embed": "residual width"}, found.inexact
    dense = nets.unlike_initial(dense).eval()
    return Subject(dense, trace(dense, inputs[:2]), inputs, units, left_out, heads, inexact)


@pytest.fixture(params=NAMES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return subject_of(request.param)


def test_the_groups_are_those_that_the_structure_allows(subject: Subject) -> None:
    assert {g.name: g.width // g.step for g in subject.graph.groups} == subject.units
    reasons = {item.name: item.reason for item in subject.graph.left_out}
    for name, words in subject.left_out.items():
        assert words in reasons[name]


def test_analytic_costs_are_the_counted_costs(subject: Subject) -> None:
    for plan in (Plan({}, subject.graph), *(random_plan(subject.graph, s) for s in range(3))):
        small = plan.apply(subject.dense)
        assert subject.graph.params(plan) == counted_params(small)
        assert subject.graph.macs(plan) == counted_macs(small, subject.inputs)


def test_a_pruned_network_is_the_dense_one_blind_to_what_was_removed(subject: Subject) -> None:
    for plan in plans(subject.graph):
        if subject.inexact:
            assert outputs(plan.apply(subject.dense), subject.inputs).isfinite().all()
        else:
            assert_exact(subject.dense, plan, subject.inputs)


def test_only_an_average_over_channels_that_nothing_replaces_makes_a_group_inexact(
    subject: Subject,
) -> None:
    if subject.inexact:
        assert any(group.statistic for group in subject.graph.groups)


def test_a_pruned_network_can_be_trained(subject: Subject) -> None:
    trained = random_plan(subject.graph, 1).apply(subject.dense).train()
    trained(subject.inputs).square().mean().backward()
    dense = copy.deepcopy(subject.dense).train()
    dense(subject.inputs).square().mean().backward()
    learns = {name for name, p in dense.named_parameters() if p.grad is not None}
    for name, parameter in trained.named_parameters():
        assert (parameter.grad is not None) == (name in learns), name
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_attributes_count_what_stays(subject: Subject) -> None:
    plan = random_plan(subject.graph, 2)
    small = plan.apply(subject.dense)
    for attribute, name in subject.heads.items():
        module, _, key = attribute.rpartition(".")
        group = subject.graph.group(name)
        assert getattr(small.get_submodule(module), key) == len(plan.kept[name]) // group.step


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_of_a_pruned_network_gives_the_same_bits(subject: Subject, how: str) -> None:
    small = random_plan(subject.graph, 2).apply(subject.dense)
    again = copy.deepcopy(small) if how == "deepcopy" else pickle.loads(pickle.dumps(small))  # noqa: S301
    assert torch.equal(outputs(again, subject.inputs), outputs(small, subject.inputs))
    assert [type(m).__name__ for m in again.modules()] == [
        type(m).__name__ for m in small.modules()
    ]


def test_a_pruned_network_can_be_pruned_again(subject: Subject) -> None:
    once = random_plan(subject.graph, 3).apply(subject.dense)
    graph = trace(once, subject.inputs[:2])
    assert graph.params() == counted_params(once)
    for seed in range(3):
        plan = random_plan(graph, seed)
        assert graph.params(plan) == counted_params(plan.apply(once))
        if not subject.inexact:
            assert_exact(once, plan, subject.inputs)
