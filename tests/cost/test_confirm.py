"""What a latency budget promises is what is measured, whatever the prediction said."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlprune.cost.budget import Budget
from rlprune.cost.confirm import ACCEPTED, confirm
from rlprune.cost.costs import Costs
from rlprune.errors import BudgetError
from rlprune.graph.group_graph import GroupGraph
from rlprune.latency.timing import Ratio
from rlprune.surgery.plan import Plan
from tests.cost.test_budget import GRAPHS

NAMES = ("mlp", "plain_cnn", "resnet20", "mobilenetv2", "transformer")


class ByMacs:
    """Predicts latency from MACs and an overhead that stays."""

    def __init__(self, graph: GroupGraph, fixed: float = 0.1) -> None:
        self._graph, self._fixed = graph, fixed

    def kept(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        macs = self._graph.macs_of(widths) / self._graph.macs()
        return np.asarray(self._fixed + (1 - self._fixed) * macs)


def exactly(value: float) -> Ratio:
    return Ratio(value, value, value, 1.0, 1)


@settings(max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    limit=st.floats(0.5, 0.9),
    bias=st.floats(0.8, 1.25),
    round_to=st.sampled_from([1, 2]),
)
def test_a_biased_prediction_is_corrected_by_what_is_measured(
    name: str, limit: float, bias: float, round_to: int
) -> None:
    graph = GRAPHS[name]
    costs = Costs(graph, ByMacs(graph), round_to)
    budget = Budget((("latency", limit),))

    def truth(plan: Plan) -> Ratio:
        kept = float(costs.kept("latency", plan.widths))
        return exactly(kept ** (1 / bias))

    plan = Plan.from_widths(graph, budget.decode(costs, np.ones(len(graph.groups))))
    found = confirm(plan, budget, costs, truth)
    reachable = truth(Plan.from_widths(graph, np.where(graph.is_block, 1, costs.floors))).value
    assert found.latency == truth(found.plan)
    assert found.met == (found.latency.value <= limit)
    assert found.met or reachable > limit
    if found.met and found.attempts < 6:
        # Wider would not fit, but for the steps of the widths and what the aim leaves.
        grown = np.minimum(found.plan.widths + 8 * costs.steps, graph.widths)
        wider = truth(Plan.from_widths(graph, np.where(graph.is_block, 1, grown)))
        assert found.latency.value >= ACCEPTED * limit or wider.value >= ACCEPTED * limit * 0.97


def test_a_plan_that_is_right_at_once_is_measured_once() -> None:
    graph = GRAPHS["resnet20"]
    costs, budget = Costs(graph, ByMacs(graph)), Budget.parse("latency=0.6")
    plan = Plan.from_widths(graph, budget.decode(costs, np.ones(len(graph.groups))))
    found = confirm(plan, budget, costs, lambda _: exactly(0.58))
    assert (found.plan, found.attempts, found.met) == (plan, 1, True)


def test_other_limits_and_removed_blocks_stay() -> None:
    graph = GRAPHS["resnet20"]
    costs, budget = Costs(graph, ByMacs(graph)), Budget.parse("macs=0.3,latency=0.9")
    allocation = np.ones(len(graph.groups))
    allocation[np.flatnonzero(graph.is_block)[0]] = 0
    plan = Plan.from_widths(graph, budget.decode(costs, allocation))
    found = confirm(plan, budget, costs, lambda _: exactly(0.5))
    assert budget.achieved(costs, found.plan.widths)["macs"] <= 0.3
    assert graph.bypassed(found.plan.kept) == graph.bypassed(plan.kept)
    assert found.met


def test_a_device_that_gains_nothing_is_reported_as_missing_the_budget() -> None:
    graph = GRAPHS["plain_cnn"]
    costs, budget = Costs(graph, ByMacs(graph)), Budget.parse("latency=0.6")
    plan = Plan.from_widths(graph, budget.decode(costs, np.ones(len(graph.groups))))
    found = confirm(plan, budget, costs, lambda p: exactly(0.99 + 1e-4 * p.widths.sum()))
    assert not found.met
    assert found.attempts > 1


def test_latency_cannot_be_limited_where_nothing_is_charged_for_it() -> None:
    with pytest.raises(BudgetError, match="built without latency"):
        Budget.parse("latency=0.6").check_reachable(Costs(GRAPHS["mlp"]))
