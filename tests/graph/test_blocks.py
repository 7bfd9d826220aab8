"""Residual blocks that can be bypassed disappear as a whole; the others say why they cannot."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.data.splits import DataSplits
from rlprune.errors import PlanError
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel
from rlprune.surgery.plan import Plan
from tests import nets
from tests.oracles import assert_exact, counted_macs, counted_params, outputs, random_plan
from tests.surgery.block_nets import Basic, Dropped, Gate, Inverted, Odd, Positions, Sized, Stages


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nets.unlike_initial(build()).eval()


class Around(nn.Module):
    """A block of six channels between a convolution and a head."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(1, 6, 3, padding=1), block, nets.Head(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(F.relu(self.stem(x))))


class Bottleneck(Inverted):
    """The branch comes first in the sum, which is in place."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self:
            y = layer(y)
        return y.add_(x)


class Subtracted(Inverted):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - 2 * x


class Doubled(nn.Module):
    """The shortcut is scaled: without the block, something else would come out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x + self.conv(x)


class Concatenated(nn.Module):
    """No sum, only channels that pass by."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :3], self.conv(x[:, 3:])], 1)


class TwoOutputs(Inverted):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x), x  # type: ignore[return-value]


class Unpacked(nn.Module):
    """Hands the first of several outputs on."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = TwoOutputs()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0] * 2


class Inspected(Around):
    """The model looks into its block from outside."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.block[2].stride[0]


class Scaled(nn.Module):
    """Layer scale and a stochastic depth that is off: still a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = Inverted()
        self.gamma = nn.Parameter(torch.rand(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + F.dropout(self.gamma * (self.branch(x) - x), 0.1, self.training)


LEGAL: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "stages": (Stages, ["stages.0.0", "stages.0.1", "stages.1.1"]),
    "basic": (lambda: Around(Basic(6, 6)), ["block"]),
    "inverted": (lambda: Around(Inverted()), ["block"]),
    "branch first": (lambda: Around(Bottleneck()), ["block"]),
    "dropped in training": (lambda: Around(Dropped(nn.Conv2d(6, 6, 1))), ["block"]),
    "several in a row": (
        lambda: Around(nn.Sequential(*(Inverted() for _ in range(3)))),
        ["block.0", "block.1", "block.2"],
    ),
    "frozen": (lambda: Around(Inverted().requires_grad_(False)), ["block"]),
}

ILLEGAL: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "other shape": (
        lambda: Around(nn.Sequential(Basic(6, 6, 2))),
        "block.0",
        "it changes the shape from (6, 8, 8) to (6, 4, 4)",
    ),
    "a shortcut with layers": (
        lambda: Around(_projected()),
        "block",
        "its shortcut has layers of its own",
    ),
    "used twice": (Odd, "shared", "it is used more than once"),
    "scaled shortcut": (lambda: Around(Doubled()), "block", "its shortcut has layers of its own"),
    "tied weights": (lambda: _tied(), "block.0", "it shares a weight with 'block.1.0'"),
    "needed from outside": (
        lambda: Inspected(Inverted()),
        "block",
        "the model does not run without it: ",
    ),
}

NO_BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "concatenated": lambda: Around(Concatenated()),
    "several outputs": lambda: Around(Unpacked()),
    "no residual": lambda: nets.build("concat"),
}


def _projected() -> nn.Module:
    block = Basic(6, 6)
    block.shortcut = nn.Conv2d(6, 6, 1)
    return block


def _tied() -> nn.Module:
    first, second = Inverted(), Inverted()
    second[0].weight = first[0].weight
    return Around(nn.Sequential(first, second))


@pytest.mark.parametrize("name", LEGAL)
def test_the_blocks_that_can_go_come_after_the_channels(name: str) -> None:
    build, modules = LEGAL[name]
    graph = trace(seeded(build), nets.images(2))
    assert list(graph.blocks) == modules
    assert graph.names[-len(modules) :] == tuple(f"{module} (block)" for module in modules)
    for group in graph.groups[-len(modules) :]:
        assert (group.kind, group.width, group.step, group.floor) == ("block", 1, 1, 0)
        assert group.members == (group.name.removesuffix(" (block)"),)
    assert not graph.is_block[: -len(modules)].any()


@pytest.mark.parametrize("name", ILLEGAL)
def test_a_block_that_cannot_go_says_why(name: str) -> None:
    build, module, reason = ILLEGAL[name]
    model = seeded(build)
    graph = trace(model, nets.images(2))
    (left,) = (item for item in graph.left_out if item.name == f"{module} (block)")
    assert left.reason.startswith(reason)
    assert module not in graph.blocks
    for seed in range(3):
        assert_exact(model, random_plan(graph, seed), nets.images(3))


@pytest.mark.parametrize("name", NO_BLOCKS)
def test_what_is_no_residual_is_no_block(name: str) -> None:
    graph = trace(seeded(NO_BLOCKS[name]), nets.images(2))
    assert not graph.blocks
    assert not any("(block)" in item.name for item in graph.left_out)


def test_a_subtracted_shortcut_is_not_bypassed() -> None:
    graph = trace(seeded(lambda: Around(Subtracted())), nets.images(2))
    assert "block" not in graph.blocks


def test_only_the_innermost_of_nested_residuals_is_a_block() -> None:
    graph = trace(seeded(lambda: Around(Scaled())), nets.images(2))
    assert list(graph.blocks) == ["block.branch"]


@pytest.mark.parametrize("build", [Sized, Gate])
def test_a_block_that_is_given_more_than_its_input_returns_its_first(
    build: Callable[[], nn.Module],
) -> None:
    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.block, self.head = nn.Conv2d(1, 6, 3, padding=1), build(), nets.Head(6)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.stem(x))
            more = x.shape[2:] if build is Sized else (x.exp(),)
            return self.head(self.block(x, *more))

    model = seeded(Caller)
    graph = trace(model, nets.images(2))
    assert list(graph.blocks) == ["block"]
    small = Plan({"block (block)": []}, graph).apply(model)
    x = F.relu(model.stem(nets.images()))
    torch.testing.assert_close(outputs(small, nets.images()), model.head(x))


@pytest.mark.parametrize("name", LEGAL)
def test_a_removed_block_is_physically_gone_and_costs_are_exact(name: str) -> None:
    build, modules = LEGAL[name]
    model = seeded(build)
    graph = trace(model, nets.images(2))
    for module in modules:
        plan = Plan({f"{module} (block)": []}, graph)
        small = plan.apply(model)
        gone = small.get_submodule(module)
        assert isinstance(gone, nn.Identity)
        assert not list(gone.parameters())
        assert not any(key.startswith(f"{module}.") for key in small.state_dict())
        inside = counted_params(model.get_submodule(module))
        assert graph.params(plan) == counted_params(small) == counted_params(model) - inside
        assert graph.macs(plan) == counted_macs(small, nets.images(2)) < graph.macs()
        assert_exact(model, plan, nets.images(3))
    share = dict(zip(graph.names, graph.removed_share(), strict=True))
    for module in modules:
        without = graph.macs(Plan({f"{module} (block)": []}, graph))
        assert share[f"{module} (block)"] == pytest.approx(1 - without / graph.macs())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", LEGAL)
def test_blocks_and_channels_go_together(name: str, seed: int) -> None:
    model = seeded(LEGAL[name][0])
    graph = trace(model, nets.images(2))
    plan = random_plan(graph, seed)
    small = plan.apply(model)
    assert graph.params(plan) == counted_params(small)
    assert graph.macs(plan) == counted_macs(small, nets.images(2))
    assert_exact(model, plan, nets.images(3))


def test_all_blocks_may_go_at_once() -> None:
    model = seeded(Stages)
    graph = trace(model, nets.images(2))
    small = Plan({name: [] for name in graph.names if "(block)" in name}, graph).apply(model)
    assert [type(block) for block in small.stages[0]] == [type(small.stages[1][1])] * 2
    assert isinstance(small.stages[1][0], Basic)
    assert outputs(small, nets.images()).shape == (4, 10)


def test_blocks_that_add_nothing_go_without_a_trace_but_for_their_macs(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    model = copy.deepcopy(loaded("resnet20").module)
    images = digits.search.tensors(64)[0]
    assert isinstance(images, Tensor)
    graph = trace(model, images[:2])
    with torch.no_grad():
        for module in graph.blocks:
            last = model.get_submodule(f"{module}.bn2")
            last.weight.zero_()
            last.bias.zero_()
    plan = Plan({f"{module} (block)": [] for module in graph.blocks}, graph)
    small = plan.apply(model)
    torch.testing.assert_close(small(images), model(images), rtol=0, atol=1e-6)
    assert graph.macs(plan) / graph.macs() < 0.4


def test_a_block_is_kept_or_removed_and_a_uniform_plan_keeps_it() -> None:
    graph = trace(seeded(Stages), nets.images(2))
    for bad in ([1], [-1], [0, 1]):
        with pytest.raises(PlanError, match=r"'stages\.0\.0 \(block\)'"):
            Plan({"stages.0.0 (block)": bad}, graph)
    uniform = Plan.uniform(graph, 1e-9)
    assert all(uniform.kept[f"{module} (block)"] == (0,) for module in graph.blocks)
    assert graph.bypassed(uniform.kept) == []


def test_adding_positions_is_no_block_of_any_use() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 8), Positions(8), nn.Linear(8, 3)))
    graph = trace(model, torch.randn(2, 6, 5))
    assert not graph.blocks
    assert not any("(block)" in item.name for item in graph.left_out)


def test_a_block_holds_its_shape_in_training() -> None:
    model = seeded(lambda: Around(Dropped(nn.Conv2d(6, 6, 1))))
    graph = trace(model.train(), nets.images(2))
    small = Plan({"block (block)": []}, graph).apply(model)
    assert small.training
    small(nets.images()).sum().backward()
