"""A trace finds the groups, refuses what it cannot prune by name, and leaves the model alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.data.splits import DataSplits
from rlprune.errors import ModelError
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import BUILTIN_NAMES, LoadedModel
from rlprune.surgery.plan import Plan
from tests import nets
from tests.oracles import assert_exact, assert_same_tensors, outputs, plans, random_plan

OUTPUT = "it is the output of the model"


def reasons(graph: GroupGraph) -> dict[str, str]:
    return {item.name: item.reason for item in graph.left_out}


def traced(name: str) -> GroupGraph:
    return trace(nets.build(name), nets.images(2))


class Chain(nn.Module):
    """Two convolutions and a head, with a hook for what happens between or after them."""

    def __init__(
        self,
        between: Callable[[Tensor], Tensor] = F.relu,
        after: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 1)
        self.head = nets.Head(8)
        self.between, self.after = between, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.head(F.relu(self.b(self.between(self.a(x))))))


# Which groups exist


def test_groups_come_in_forward_order_under_the_name_of_their_first_layer() -> None:
    assert traced("concat").names == ("a", "b", "c", "mix")
    assert traced("transposed").names == ("down", "up")


def test_channels_that_a_ghost_module_ties_form_atoms() -> None:
    graph = traced("ghost")
    group = graph.group("stem")
    assert (group.width, group.step) == (16, 2)
    assert group.atoms == (*range(8), *range(8))
    kept = Plan.uniform(graph, 0.5).kept["stem"]
    assert len(kept) == 8
    assert {channel % 8 for channel in kept[:4]} == {channel % 8 for channel in kept[4:]}


@pytest.mark.parametrize("half", [2, 3, 4, 8, 16, 20])
def test_ties_are_found_at_every_width(half: int) -> None:
    group = trace(nets.Ghost(half), nets.images(2)).groups[0]
    assert group.atoms == (*range(half), *range(half))


def test_a_layer_that_writes_every_channel_of_a_group_twice_follows_it() -> None:
    graph = traced("wide_ghost")
    assert (graph.group("primary").width, graph.group("primary").step) == (8, 1)
    positions = graph.kept_positions(Plan({"primary": [1, 4]}, graph).kept)
    assert positions["shortcut.weight"][0].tolist() == [1, 4, 9, 12]


def test_halves_that_are_added_are_tied() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 16, 1), nn.Conv2d(8, 8, 1)
            self.head = nets.Head(8)

        def forward(self, x: Tensor) -> Tensor:
            first, second = self.a(x).chunk(2, 1)
            return self.head(F.relu(self.b(F.relu(first + second))))

    assert trace(Halves(), nets.images(2)).group("a").atoms == (*range(8), *range(8))


def test_a_module_that_is_used_twice_ties_its_inputs_to_its_outputs() -> None:
    graph = traced("shared")
    assert graph.names == ("stem", "last")
    assert "shared" in graph.group("stem").members
    assert "shared (in)" in graph.group("stem").members


def test_a_depthwise_convolution_belongs_to_the_group_that_it_reads() -> None:
    graph = traced("transposed")
    assert "depthwise" in graph.group("up").members
    assert [op.weight for op in graph.operations if op.depthwise] == ["depthwise.weight"]


def test_a_convolution_of_a_grey_image_is_not_depthwise() -> None:
    assert not any(op.depthwise for op in traced("concat").operations)


# What is pruned by whole sets, and what only roughly


@pytest.mark.parametrize(
    ("network", "group", "width", "step"),
    [("grouped", "stem", 8, 4), ("normalised", "stem", 8, 4), ("tied", "stem", 12, 1)],
)
def test_channels_that_belong_together_go_together(
    network: str, group: str, width: int, step: int
) -> None:
    graph = traced(network)
    assert (graph.group(group).width, graph.group(group).step) == (width, step)
    assert graph.names == (group, "free")
    for plan in plans(graph):
        assert_exact(nets.build(network), plan, nets.images(3))


def test_a_weight_that_two_layers_hold_is_sliced_once_and_counted_once() -> None:
    dense = nets.build("tied")
    graph = traced("tied")
    small = Plan.uniform(graph, 0.5).apply(dense)
    assert small.one.weight is small.two.weight
    assert {"one", "one (in)", "two", "two (in)"} <= set(graph.group("stem").members)
    assert graph.params() == sum(parameter.numel() for parameter in dense.parameters())


class Scale(nn.Module):
    """A free parameter for every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Gate(nn.Module):
    """All channels are gated by a single one."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(x))


@pytest.mark.parametrize(
    ("build", "step"),
    [
        (lambda: nn.LayerNorm([8, 8, 8]), 1),
        (lambda: nn.GroupNorm(2, 8), 4),
        (lambda: nn.InstanceNorm2d(8, affine=True), 1),
        (Scale, 1),
        (Gate, 1),
    ],
    ids=["LayerNorm", "GroupNorm", "InstanceNorm", "parameter", "gate"],
)
def test_what_stands_between_two_layers_is_sliced_with_them(
    build: Callable[[], nn.Module], step: int
) -> None:
    torch.manual_seed(0)
    model = nets.unlike_initial(Chain(build())).eval()
    graph = trace(model, nets.images(2))
    assert (graph.group("a").width, graph.group("a").step) == (8, step)
    for plan in plans(graph):
        assert_exact(model, plan, nets.images(3))


@pytest.mark.parametrize(
    ("between", "words"),
    [
        (lambda x: x - x.mean(1, keepdim=True), "mean runs over its channels"),
        (lambda x: F.normalize(x, dim=1), "linalg_vector_norm runs over its channels"),
        (lambda x: x / x.std(1, keepdim=True), "std runs over its channels"),
    ],
)
def test_a_group_of_which_a_statistic_is_taken_says_which(
    between: Callable[[Tensor], Tensor], words: str
) -> None:
    graph = trace(Chain(between), nets.images(2))
    assert words in graph.group("a").statistic
    assert f"inexact: {words}"[:20] in str(graph)
    assert graph.group("b").statistic == ""


def test_channels_that_are_averaged_into_one_go_roughly() -> None:
    network = Chain(between=lambda x: x.mean(1, keepdim=True))
    network.b = nn.Conv2d(1, 8, 1)
    graph = trace(network, nets.images(2))
    assert graph.group("a").statistic == "mean runs over its channels"
    small = Plan({"a": [2]}, graph).apply(network)
    assert small.a.weight.shape[0] == 1
    assert outputs(small, nets.images()).isfinite().all()


def test_channels_that_nobody_reads_have_a_group_of_their_own() -> None:
    torch.manual_seed(0)
    network = Chain(between=lambda x: x[:, :8]).eval()
    network.a = nn.Conv2d(1, 16, 3, padding=1)
    graph = trace(network, nets.images(2))
    assert [(group.name, group.width) for group in graph.groups] == [
        ("a", 8),
        ("a [2]", 8),
        ("b", 8),
    ]
    unread = Plan({"a [2]": [0]}, graph).apply(network)
    assert unread.a.weight.shape[0] == 9
    torch.testing.assert_close(outputs(unread, nets.images()), outputs(network, nets.images()))
    for plan in plans(graph):
        assert_exact(network, plan, nets.images(3))


# What is refused, and how it is named


def test_a_normalisation_without_weights_cannot_lose_groups() -> None:
    graph = trace(Chain(nn.GroupNorm(2, 8, affine=False)), nets.images(2))
    assert graph.names == ("b",)
    assert "depends on the number of its channels" in reasons(graph)["a"]


def test_an_operation_without_a_rule_is_named_with_its_module() -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sort(1).values

    graph = trace(Chain(Sorted()), nets.images(2))
    assert graph.names == ("b",)
    assert reasons(graph)["a"] == "the operation 'sort' has no rule in 'between'"


@pytest.mark.parametrize(
    "after", [lambda x: x, F.relu, lambda x: x.softmax(1), lambda x: x.view(-1, 10) * 2]
)
def test_the_output_layer_is_protected_whatever_follows_it(
    after: Callable[[Tensor], Tensor],
) -> None:
    graph = trace(Chain(after=after), nets.images(2))
    assert graph.names == ("a", "b")
    assert list(reasons(graph)) == ["head.classifier"]


def test_every_layer_that_adds_to_the_output_is_protected() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(64, 12)
            self.one, self.two = nn.Linear(12, 10), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            return self.one(F.relu(self.hidden(x))) + self.two(x)

    graph = trace(Sum(), nets.images(2))
    assert graph.names == ("hidden",)
    assert OUTPUT in reasons(graph).values()


@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_no_plan_changes_the_shape_of_a_built_in_networks_output(
    name: str, digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    dense, images = loaded(name).module, digits.search.tensors(2)[0]
    graph = trace(dense, images)
    layers = {name: why for name, why in reasons(graph).items() if "(block)" not in name}
    # an output of a single channel is no group at all
    assert list(layers.values()) == ([] if name == "autoencoder" else [OUTPUT])
    small = random_plan(graph, 3).apply(dense)
    assert outputs(small, images).shape == outputs(dense, images).shape


def test_an_unused_layer_does_no_harm() -> None:
    network = Chain()
    network.unused = nn.Conv2d(8, 8, 1)
    graph = trace(network, nets.images(2))
    assert graph.names == ("a", "b")
    assert graph.params() == sum(p.numel() for p in network.parameters())


# What a trace leaves alone


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["ghost", "wide_ghost", "shared", "transposed"])
def test_a_trace_changes_neither_weights_nor_mode_nor_hooks_nor_random_numbers(
    name: str, training: bool
) -> None:
    network = nets.build(name).train(training)
    before, images = copy.deepcopy(network), nets.images(2)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    trace(network, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_tensors(network, before)
    assert all(module.training is training for module in network.modules())
    assert all(not module._forward_hooks for module in network.modules())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert torch.equal(images, nets.images(2))


@pytest.mark.parametrize("name", ["ghost", "shared", "flattened", "transposed"])
def test_a_frozen_model_has_the_same_groups_and_stays_frozen(name: str) -> None:
    frozen = nets.build(name).requires_grad_(False)
    graph = trace(frozen, nets.images(2))
    assert graph == traced(name)
    assert not any(p.requires_grad for p in frozen.parameters())
    small = Plan.uniform(graph, 0.5).apply(frozen)
    assert not any(p.requires_grad for p in small.parameters())


def test_freezing_a_part_survives_pruning() -> None:
    network = nets.build("flattened")
    network.conv.requires_grad_(False)
    small = Plan.uniform(trace(network, nets.images(2)), 0.5).apply(network)
    frozen = {name for name, p in small.named_parameters() if not p.requires_grad}
    assert frozen == {"conv.weight", "conv.bias"}


@pytest.mark.parametrize("name", nets.PRUNABLE)
def test_tracing_twice_gives_the_same_graph(name: str) -> None:
    assert traced(name) == traced(name)


# What cannot be traced at all


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    network = Chain()
    with torch.no_grad():
        network.b.weight[0, 0] = value
    with pytest.raises(ModelError, match=r"NaN or infinity in 'b\.weight'"):
        trace(network, nets.images(2))


def test_buffers_that_are_not_finite_are_named() -> None:
    network = nets.build("ghost")
    network.bn.running_var[0] = float("nan")
    with pytest.raises(ModelError, match=r"bn\.running_var"):
        trace(network, nets.images(2))


@pytest.mark.parametrize("after", [torch.Tensor.detach, lambda x: x.data])
def test_gradients_are_not_needed(after: Callable[[Tensor], Tensor]) -> None:
    class Silent(Chain):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    assert trace(Chain(after=after), nets.images(2)).names == ("a", "b")
    assert trace(Silent(), nets.images(2)).names == ("a", "b")


def test_a_forward_that_raises_is_reported_with_its_message() -> None:
    def fail(x: Tensor) -> Tensor:
        raise ValueError("the moon is full\nand more")

    with pytest.raises(ModelError, match="the moon is full") as caught:
        trace(Chain(between=fail), nets.images(2))
    assert "\n" not in str(caught.value)


def test_an_input_of_the_wrong_shape_is_reported_with_the_shape() -> None:
    with pytest.raises(ModelError, match=r"\(2, 3, 8, 8\)"):
        trace(Chain(), torch.zeros(2, 3, 8, 8))
