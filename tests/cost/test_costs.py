"""Costs of widths, and which widths a plan may have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlprune.cost.budget import Budget
from rlprune.cost.costs import Costs, rounding_of
from rlprune.errors import BudgetError
from tests.cost.test_budget import GRAPHS
from tests.cost.test_confirm import ByMacs


@pytest.mark.parametrize("granularity", [1, 2, 8, 16, 32])
def test_what_a_device_takes_at_once_is_halved_until_a_group_has_four_steps(
    granularity: int,
) -> None:
    graph = GRAPHS["resnet20"]
    for group, step in zip(graph.groups, rounding_of(graph, granularity), strict=True):
        assert granularity % step == 0
        assert step == 1 or 4 * step <= group.width
        assert step == granularity or 8 * step > group.width


def test_what_the_user_asks_for_is_taken_as_it_is() -> None:
    graph = GRAPHS["resnet20"]
    assert set(rounding_of(graph, 16, round_to=3)) == {3}


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(GRAPHS)),
    round_to=st.sampled_from([1, 2, 3, 8, 16]),
    limit=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_rounded_widths_are_multiples_or_whole_and_meet_budgets_of_latency_too(
    name: str, round_to: int, limit: float, seed: int
) -> None:
    graph = GRAPHS[name]
    costs = Costs(graph, ByMacs(graph), round_to)
    least = costs.reachable("latency")
    budget = Budget((("latency", least + limit * (1 - least)), ("macs", 1.0)))
    allocation = np.exp(np.random.default_rng(seed).normal(0, 1, len(graph.groups)))
    widths = budget.decode(costs, allocation)
    assert (costs.floors <= widths).all()
    assert (widths <= graph.widths).all()
    for group, width in zip(graph.groups, widths, strict=True):
        step = np.lcm(group.step, round_to) if group.kind == "channels" else group.step
        assert width % step == 0 or width == group.width
    assert budget.usage(costs, widths) <= 1
    wider = np.minimum(widths + costs.steps, graph.widths)
    for quantity in ("latency", "macs", "params"):
        one_by_one = np.where(np.eye(len(widths), dtype=bool), wider, widths)
        expected = costs.kept(quantity, one_by_one)
        np.testing.assert_allclose(costs.kept_if_each(quantity, widths, wider), expected)


def test_a_rounding_below_one_is_refused() -> None:
    with pytest.raises(BudgetError, match="cannot be multiples of 0; type --round-to 1"):
        Costs(GRAPHS["mlp"], round_to=0)


def test_an_unreachable_rounded_budget_says_how_to_reach_further() -> None:
    with pytest.raises(BudgetError, match="of multiples of 64, and blocks stay.; --round-to 1"):
        Budget.parse("macs=0.02").check_reachable(Costs(GRAPHS["mlp"], round_to=64))
