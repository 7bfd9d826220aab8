"""The decoder meets every budget by construction, wastes nothing, and refuses what cannot be."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlprune.cost.budget import Budget
from rlprune.cost.costs import Costs
from rlprune.errors import BudgetError, UnknownNameError
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import BUILTIN_NAMES, build_model
from rlprune.surgery.plan import Plan
from tests import nets
from tests.transformer import transformer

GRAPHS: dict[str, GroupGraph] = {
    **{name: trace(nets.build(name), nets.images(2)) for name in nets.PRUNABLE},
    **{
        name: trace(
            build_model(name, in_channels=1, num_classes=10, image_size=8).eval(), nets.images(2)
        )
        for name in BUILTIN_NAMES
        if name != "resnet56"  # a larger resnet20
    },
    "transformer": trace(transformer(), nets.images(2)),
}


WITH_BLOCKS = sorted(name for name, graph in GRAPHS.items() if graph.is_block.any())


def narrowest(graph: GroupGraph) -> npt.NDArray[np.int64]:
    """All groups at their floors; blocks stay."""
    return np.where(graph.is_block, 1, graph.floors)


def reachable(graph: GroupGraph, quantity: str) -> float:
    """The kept fraction of the floors."""
    cost = graph.macs_of if quantity == "macs" else graph.params_of
    return int(cost(narrowest(graph))) / int(cost(graph.widths))


@st.composite
def cases(
    draw: st.DrawFn, names: Sequence[str] = sorted(GRAPHS)
) -> tuple[GroupGraph, Budget, npt.NDArray[np.float64]]:
    graph = GRAPHS[draw(st.sampled_from(names), label="network")]
    quantities = draw(st.lists(st.sampled_from(["macs", "params"]), min_size=1, unique=True))
    limits = []
    for quantity in quantities:
        least = reachable(graph, quantity)
        limits.append((quantity, least + draw(st.floats(0, 1)) * (1 - least)))
    logs = draw(
        st.lists(st.floats(-6, 6), min_size=len(graph.groups), max_size=len(graph.groups)),
        label="log allocation",
    )
    allocation = np.exp(logs)
    gone = draw(st.sets(st.sampled_from(np.flatnonzero(graph.is_block).tolist() or [-1])))
    allocation[[g for g in gone if g >= 0]] = 0
    return graph, Budget(tuple(limits)), allocation


@settings(max_examples=150)
@given(case=cases())
def test_decoded_widths_meet_budget_floors_and_steps_and_nothing_more_fits(
    case: tuple[GroupGraph, Budget, npt.NDArray[np.float64]],
) -> None:
    graph, budget, allocation = case
    widths = budget.decode(Costs(graph), allocation)
    assert budget.usage(Costs(graph), widths) <= 1.0
    assert (graph.floors <= widths).all()
    assert (widths <= graph.widths).all()
    assert (widths % graph.steps == 0).all()
    for g in np.flatnonzero((widths < graph.widths) & ~graph.is_block):
        grown = widths.copy()
        grown[g] += graph.steps[g]
        assert budget.usage(Costs(graph), grown) > 1.0


@settings(max_examples=80)
@given(case=cases(WITH_BLOCKS))
def test_blocks_go_where_the_allocation_is_zero_and_only_there(
    case: tuple[GroupGraph, Budget, npt.NDArray[np.float64]],
) -> None:
    graph, budget, allocation = case
    widths = budget.decode(Costs(graph), allocation)
    assert (widths[graph.is_block] == (allocation[graph.is_block] > 0)).all()
    achieved = budget.achieved(Costs(graph), widths)
    assert all(achieved[quantity] <= kept for quantity, kept in budget.limits)
    plan = Plan.from_widths(graph, widths)
    assert graph.bypassed(plan.kept) == [
        module for module, g in graph.blocks.items() if allocation[g] == 0
    ]


@settings(max_examples=40)
@given(case=cases(WITH_BLOCKS), scale=st.floats(0.01, 100))
def test_how_large_a_share_a_block_has_does_not_matter_unless_it_is_zero(
    case: tuple[GroupGraph, Budget, npt.NDArray[np.float64]], scale: float
) -> None:
    graph, budget, allocation = case
    scaled = np.where(graph.is_block, allocation * scale, allocation)
    assert (
        budget.decode(Costs(graph), scaled).tolist()
        == budget.decode(Costs(graph), allocation).tolist()
    )


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_what_a_removed_block_saves_goes_to_the_others_and_channels_inside_stay_whole(
    name: str,
) -> None:
    graph, budget = GRAPHS[name], Budget.parse("macs=0.4")
    ones = np.ones(len(graph.groups))
    whole = budget.decode(Costs(graph), ones)
    for module, g in graph.blocks.items():
        without = ones.copy()
        without[g] = 0
        widths = budget.decode(Costs(graph), without)
        inside = [
            i
            for i, group in enumerate(graph.groups)
            if all(member.startswith(f"{module}.") for member in group.members)
        ]
        assert (widths[inside] == graph.widths[inside]).all()
        others = np.setdiff1d(np.flatnonzero(~graph.is_block), inside)
        assert widths[others].sum() > whole[others].sum()


@settings(max_examples=60)
@given(case=cases(), shift=st.integers(-20, 20))
def test_a_common_scale_of_the_allocation_does_not_matter(
    case: tuple[GroupGraph, Budget, npt.NDArray[np.float64]], shift: int
) -> None:
    graph, budget, allocation = case
    widths = budget.decode(Costs(graph), allocation)
    assert budget.decode(Costs(graph), allocation * 2.0**shift).tolist() == widths.tolist()


@pytest.mark.parametrize("name", GRAPHS)
def test_ties_do_not_hang_on_the_scale_of_the_allocation(name: str) -> None:
    graph, rng = GRAPHS[name], np.random.default_rng(0)
    for kept in np.linspace(reachable(graph, "macs"), 1, 25):
        budget = Budget((("macs", float(kept)),))
        allocation = np.exp(0.5 * rng.integers(-2, 3, len(graph.groups)))
        for even in (allocation, np.ones(len(graph.groups))):
            widths = budget.decode(Costs(graph), even)
            for scale in (0.3, np.e, 100.0):
                assert budget.decode(Costs(graph), even * scale).tolist() == widths.tolist()


@settings(max_examples=60)
@given(case=cases())
def test_usage_is_the_cost_over_what_is_allowed(
    case: tuple[GroupGraph, Budget, npt.NDArray[np.float64]],
) -> None:
    graph, budget, allocation = case
    widths = budget.decode(Costs(graph), allocation)
    achieved = budget.achieved(Costs(graph), widths)
    worst = max(achieved[quantity] / kept for quantity, kept in budget.limits)
    assert float(budget.usage(Costs(graph), widths)) == pytest.approx(worst)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_budget_of_one_keeps_everything(name: str) -> None:
    graph = GRAPHS[name]
    widths = Budget.parse("macs=1,params=1").decode(Costs(graph), np.ones(len(graph.groups)))
    assert widths.tolist() == graph.widths.tolist()


@pytest.mark.parametrize("name", GRAPHS)
def test_the_least_reachable_budget_keeps_the_floors_and_less_is_refused_with_the_range(
    name: str,
) -> None:
    graph = GRAPHS[name]
    least = reachable(graph, "macs")
    allocation = np.ones(len(graph.groups))
    widths = Budget((("macs", least),)).decode(Costs(graph), allocation)
    assert widths.tolist() == narrowest(graph).tolist()
    too_low = Budget((("macs", least * 0.99),))
    stated = re.escape(f"macs can go from {least:.4f} to 1")
    with pytest.raises(BudgetError, match=stated):
        too_low.decode(Costs(graph), allocation)
    with pytest.raises(BudgetError, match=stated):
        too_low.check_reachable(Costs(graph))


class Summing:
    """Charges every channel alike; sums of many width vectors at once are rounded otherwise."""

    def __init__(self, graph: GroupGraph) -> None:
        self._dense = float(graph.widths.sum())

    def kept(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        many = np.asarray(widths)
        return many.sum(-1) / self._dense * (1 + 2**-51 * (many.ndim > 1))


@pytest.mark.parametrize("name", GRAPHS)
def test_the_least_latency_is_met_however_sums_are_rounded(name: str) -> None:
    costs = Costs(GRAPHS[name], Summing(GRAPHS[name]))
    least = Budget((("latency", costs.reachable("latency")),))
    widths = least.decode(costs, np.ones(len(GRAPHS[name].groups)))
    assert widths.tolist() == narrowest(GRAPHS[name]).tolist()
    assert least.usage(costs, widths) <= 1


def test_two_limits_hold_at_once_and_each_can_be_the_tight_one() -> None:
    graph = GRAPHS["plain_cnn"]
    ones = np.ones(len(graph.groups))
    for text, tight in (("macs=0.9,params=0.3", "params"), ("macs=0.3,params=0.9", "macs")):
        budget = Budget.parse(text)
        achieved = budget.achieved(Costs(graph), budget.decode(Costs(graph), ones))
        limits = dict(budget.limits)
        assert all(achieved[quantity] <= limits[quantity] for quantity in limits)
        assert achieved[tight] > 0.9 * limits[tight]


def test_a_group_with_a_larger_share_keeps_more() -> None:
    graph = GRAPHS["mlp"]
    favoured = Budget.parse("macs=0.4").decode(Costs(graph), np.array([1.0, 4.0, 1.0]))
    even = Budget.parse("macs=0.4").decode(Costs(graph), np.ones(3))
    assert favoured[1] > even[1]
    assert favoured[0] < even[0]


@pytest.mark.parametrize(
    "allocation", [[1.0], [1.0, 0.0, 1.0], [1.0, -1.0, 1.0], [1.0, float("nan"), 1.0], []]
)
def test_an_allocation_that_is_not_positive_or_too_short_is_refused(
    allocation: list[float],
) -> None:
    with pytest.raises(BudgetError, match="needs 3 positive fractions"):
        Budget.parse("macs=0.5").decode(Costs(GRAPHS["mlp"]), np.array(allocation))


def test_a_model_without_groups_is_refused_with_the_reasons() -> None:
    bare = GRAPHS["grouped"].model_copy(update={"groups": ()})
    with pytest.raises(BudgetError, match="nothing in this model can be pruned .*classifier"):
        Budget.parse("macs=0.5").check_reachable(Costs(bare))


@pytest.mark.parametrize("text", ["macs=0.5", "params=0.25", "macs=0.5,params=0.6", "macs=1"])
def test_text_comes_back_as_it_was_typed(text: str) -> None:
    assert str(Budget.parse(text)) == text
    assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)


def test_spaces_around_parts_are_allowed() -> None:
    assert Budget.parse(" macs=0.5 , params=0.6 ") == Budget.parse("macs=0.5,params=0.6")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("mac=0.5", UnknownNameError, "did you mean 'macs'"),
        ("param=0.5", UnknownNameError, "did you mean 'params'"),
        ("flops=0.5", UnknownNameError, "allowed: macs, params, latency"),
        ("macs=0", BudgetError, r"must be in \(0, 1\], got '0'"),
        ("macs=-0.5", BudgetError, r"must be in \(0, 1\], got '-0.5'"),
        ("macs=1.5", BudgetError, r"must be in \(0, 1\], got '1.5'"),
        ("macs=nan", BudgetError, r"must be in \(0, 1\]"),
        ("macs=inf", BudgetError, r"must be in \(0, 1\]"),
        ("macs=half", BudgetError, "got 'half'"),
        ("macs=", BudgetError, "got ''"),
        ("macs=0.5,macs=0.6", BudgetError, "names 'macs' twice"),
        ("", BudgetError, r"type for example macs=0\.5"),
        ("0.5", BudgetError, r"type for example macs=0\.5"),
        ("macs=0.5,", BudgetError, r"type for example macs=0\.5"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused_with_a_hint(
    text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Budget.parse(text)
