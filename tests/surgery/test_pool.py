"""A pool makes the network that a plan makes, again and again, and leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlprune.errors import PlanError
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import BUILTIN_NAMES, build_model
from rlprune.surgery.plan import Plan
from rlprune.surgery.pool import Pool
from tests import nets
from tests.oracles import counted_params, outputs, random_plan
from tests.surgery.test_structures import NAMES, subject_of


def some_plans(graph: GroupGraph) -> Iterator[Plan]:
    """Plans by norm, whose channels are prefixes of the sorted ones, between those that are not."""
    for seed, kept in enumerate((0.5, 1.0, 0.3)):
        yield Plan.uniform(graph, kept)
        yield random_plan(graph, seed)


def assert_alike(dense: nn.Module, graph: GroupGraph, inputs: Tensor) -> None:
    pool = Pool(dense, graph)
    for plan in some_plans(graph):
        small, pooled = plan.apply(dense), pool.materialise(plan)
        assert counted_params(pooled) == graph.params(plan)
        expected = outputs(small, inputs)
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            outputs(pooled, inputs), expected, rtol=1e-4, atol=1e-5 * scale + 1e-7
        )
        shapes = {name: tensor.shape for name, tensor in small.state_dict().items()}
        assert {name: tensor.shape for name, tensor in pooled.state_dict().items()} == shapes
        assert repr(pooled) == repr(small)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_named_in_the_order_in_which_they_stand(name: str) -> None:
    subject = subject_of(name)
    pool = Pool(subject.dense, subject.graph)
    biases = {f"{m}.bias" for m, _ in subject.dense.named_modules()}
    for plan in some_plans(subject.graph):
        dense, small = subject.dense.state_dict(), pool.materialise(plan).state_dict()
        named = pool.outputs(plan)
        assert named.keys() == subject.graph.kept_outputs(plan.kept).keys()
        for tensor, places in named.items():
            if tensor in small and tensor in biases:
                assert torch.equal(small[tensor], dense[tensor][places])


@pytest.mark.parametrize("name", NAMES)
def test_every_structure_computes_what_a_plan_applied_to_a_copy_computes(name: str) -> None:
    subject = subject_of(name)
    assert_alike(subject.dense, subject.graph, subject.inputs)


@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_every_built_in_network_does_too(name: str) -> None:
    torch.manual_seed(0)
    network = build_model(name, in_channels=1, num_classes=10, image_size=8)
    dense = nets.unlike_initial(network).eval()
    assert_alike(dense, trace(dense, nets.images(2)), nets.images(5))


def resnet() -> tuple[nn.Module, GroupGraph]:
    torch.manual_seed(0)
    dense = build_model("resnet20", in_channels=1, num_classes=10, image_size=8).eval()
    return dense, trace(dense, nets.images(2))


def test_what_is_done_to_a_pooled_network_does_not_reach_the_next_nor_the_dense_one() -> None:
    dense, graph = resnet()
    fresh, pool = Pool(dense, graph), Pool(dense, graph)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    for plan in some_plans(graph):
        spoiled = pool.materialise(plan)
        for module in spoiled.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.fill_(100.0)
                module.momentum = None
                module.train()
        spoiled.extra = "left behind"
        expected = outputs(fresh.materialise(plan), nets.images(3))
        assert torch.equal(outputs(pool.materialise(plan), nets.images(3)), expected)
        assert not hasattr(pool.materialise(plan), "extra")
    for name, tensor in dense.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_prefixes_are_views_and_other_choices_are_not() -> None:
    dense, graph = resnet()
    pool = Pool(dense, graph)
    widths = graph.widths // 2 + graph.is_block
    by_norm = pool.materialise(Plan.from_widths(graph, widths)).get_parameter("conv.weight")
    again = pool.materialise(Plan.from_widths(graph, widths // 2 + 1)).get_parameter("conv.weight")
    assert by_norm.data_ptr() == again.data_ptr()
    worst = {group.name: -np.array(group.scores or [0.0]) for group in graph.groups}
    other = pool.materialise(Plan.from_widths(graph, widths, worst)).get_parameter("conv.weight")
    assert other.data_ptr() != by_norm.data_ptr()


def test_nothing_of_a_plan_outlives_the_next_one() -> None:
    dense, graph = resnet()
    pool = Pool(dense, graph)
    first, second = random_plan(graph, 1), random_plan(graph, 2)
    parameters = [weakref.ref(p) for p in pool.materialise(first).parameters()]
    pool.materialise(second)
    pool.materialise(second)
    gc.collect()
    shared = {id(p) for p in pool.materialise(second).parameters()}
    alive = [p() for p in parameters if p() is not None]
    assert all(id(p) in shared for p in alive)


def test_ten_thousand_episodes_leave_no_tensor_behind() -> None:
    torch.manual_seed(0)
    dense = build_model("mlp", in_channels=1, num_classes=10, image_size=8).eval()
    graph = trace(dense, nets.images(2))
    pool = Pool(dense, graph)
    plans = [random_plan(graph, seed) for seed in range(10)]

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    for plan in plans:
        pool.materialise(plan)
    before = tensors()
    for episode in range(10_000):
        pool.materialise(plans[episode % len(plans)])
    assert tensors() == before


def test_a_model_of_other_shapes_is_refused() -> None:
    _, graph = resnet()
    other = build_model("resnet20", in_channels=3, num_classes=10, image_size=8)
    with pytest.raises(PlanError, match="'conv.weight' should have shape"):
        Pool(other, graph)


def test_the_dense_plan_has_the_dense_tensors_up_to_order() -> None:
    dense, graph = resnet()
    whole = Pool(dense, graph).materialise(Plan({}, graph))
    for name, tensor in whole.named_parameters():
        ours, theirs = (
            tensor.detach().flatten().sort(),
            dense.get_parameter(name).detach().flatten().sort(),
        )
        assert torch.equal(ours.values, theirs.values)
