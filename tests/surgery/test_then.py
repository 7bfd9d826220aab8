"""Pruning what was pruned: one plan in dense coordinates does what two did, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rlprune.errors import PlanError, UnknownNameError
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.surgery.plan import Plan
from tests import nets
from tests.oracles import assert_same_tensors, counted_macs, counted_params, outputs, random_plan
from tests.surgery.block_nets import Stages
from tests.surgery.test_structures import NAMES, subject_of


def some(graph: GroupGraph, seed: int) -> Plan:
    """Keep at least two units of every group, so that the groups stay the same, and all blocks."""
    rng = np.random.default_rng(seed)
    kept = {}
    for group in graph.groups:
        if group.kind != "block":
            atoms = group.atom_of
            n = int(atoms.max()) + 1
            chosen = rng.choice(n, size=int(rng.integers(min(2, n), n + 1)), replace=False)
            kept[group.name] = np.flatnonzero(np.isin(atoms, chosen)).tolist()
    return Plan(kept, graph)


@pytest.mark.parametrize("name", NAMES)
def test_two_plans_in_one_are_two_plans_one_after_the_other(name: str) -> None:
    subject = subject_of(name)
    for seed in range(2):
        first = some(subject.graph, seed)
        once = first.apply(subject.dense)
        second = random_plan(trace(once, subject.inputs[:2]), seed + 10)
        twice, both = second.apply(once), first.then(second)
        at_once = both.apply(subject.dense)
        assert_same_tensors(at_once, twice)
        assert torch.equal(outputs(at_once, subject.inputs), outputs(twice, subject.inputs))
        assert subject.graph.params(both) == counted_params(twice)
        assert subject.graph.macs(both) == counted_macs(twice, subject.inputs)


def stages() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nets.unlike_initial(Stages()).eval()


@pytest.mark.parametrize("seed", range(5))
def test_blocks_that_either_plan_removes_are_gone(seed: int) -> None:
    dense = stages()
    graph = trace(dense, nets.images(2))
    channels = some(graph, seed).kept
    first = Plan({**channels, "stages.0.0 (block)": []}, graph)
    once = first.apply(dense)
    later = trace(once, nets.images(2))
    assert "stages.0.0 (block)" not in later.names
    assert "stages.0.0.one" not in later.names
    second = Plan({**some(later, seed + 10).kept, "stages.1.1 (block)": []}, later)
    both = first.then(second)
    assert graph.bypassed(both.kept) == ["stages.0.0", "stages.1.1"]
    at_once, twice = both.apply(dense), second.apply(once)
    assert_same_tensors(at_once, twice)
    assert torch.equal(outputs(at_once, nets.images()), outputs(twice, nets.images()))


def test_a_second_plan_that_keeps_everything_changes_nothing() -> None:
    graph = trace(stages(), nets.images(2))
    first = some(graph, 3)
    later = trace(first.apply(stages()), nets.images(2))
    assert first.then(Plan({}, later)) == first


def test_a_first_plan_that_keeps_everything_is_the_second() -> None:
    graph = trace(stages(), nets.images(2))
    second = random_plan(graph, 4)
    assert Plan({}, graph).then(second) == second


def test_plans_compose_in_any_order_of_brackets() -> None:
    dense = stages()
    first = some(trace(dense, nets.images(2)), 1)
    once = first.apply(dense)
    second = some(trace(once, nets.images(2)), 2)
    third = some(trace(second.apply(once), nets.images(2)), 3)
    assert first.then(second).then(third) == first.then(second.then(third))


def test_a_plan_for_a_network_of_other_widths_is_refused_by_group() -> None:
    graph = trace(stages(), nets.images(2))
    first = Plan({"stem.0": range(4)}, graph)
    with pytest.raises(PlanError, match=r"group 'stem\.0' has 6 channels there, and 4 are left"):
        first.then(Plan({"stem.0": [0]}, graph))


def test_a_plan_for_another_network_is_refused_by_group() -> None:
    graph = trace(stages(), nets.images(2))
    other = trace(nets.build("concat"), nets.images(2))
    with pytest.raises((PlanError, UnknownNameError), match="'a'"):
        Plan({}, graph).then(Plan({"a": [0]}, other))


def test_a_group_that_only_the_pruned_network_has_may_stay_whole() -> None:
    subject = subject_of("image: grouped twice")  # one of two groups left is no group any more
    first = Plan({"stem": subject.graph.group("stem").keep_best(range(12), 6)}, subject.graph)
    later = trace(first.apply(subject.dense), subject.inputs[:2])
    assert set(later.names) - set(subject.graph.names)
    assert first.then(Plan({"last": [0, 1]}, later)).kept == {**first.kept, "last": (0, 1)}
