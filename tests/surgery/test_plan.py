"""A plan is valid for its network or refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlprune.errors import PlanError, UnknownNameError
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests import nets

GRAPHS = {name: trace(nets.build(name), nets.images(2)) for name in ("concat", "ghost", "gated")}


@pytest.fixture
def graph() -> GroupGraph:
    return GRAPHS["concat"]


@pytest.mark.parametrize("bad", [[], [-1, 0], [0, 6], [100]])
def test_indices_outside_the_group_and_empty_groups_are_refused(
    graph: GroupGraph, bad: list[int]
) -> None:
    with pytest.raises(PlanError, match=r"group 'a' needs at least one kept channel in 0\.\.5"):
        Plan({"a": bad}, graph)


def test_an_unknown_group_is_answered_with_the_closest_one(graph: GroupGraph) -> None:
    with pytest.raises(UnknownNameError, match="unknown group 'mixx'; did you mean 'mix'"):
        Plan({"mixx": [0]}, graph)


def test_tied_channels_cannot_be_parted() -> None:
    graph = GRAPHS["ghost"]
    assert Plan({"stem": [0, 8, 3, 11]}, graph).kept["stem"] == (0, 3, 8, 11)
    with pytest.raises(PlanError, match="tied in sets of 2"):
        Plan({"stem": [0, 8, 3]}, graph)


def test_groups_that_are_not_named_stay_whole(graph: GroupGraph) -> None:
    plan = Plan({"b": [1]}, graph)
    assert dict(zip(graph.names, plan.widths.tolist(), strict=True)) == {
        "a": 6,
        "b": 1,
        "c": 8,
        "mix": 14,
    }


def test_order_and_repetition_do_not_matter(graph: GroupGraph) -> None:
    plans = {Plan({"a": [3, 1]}, graph), Plan({"a": [1, 3, 3]}, graph), Plan({"a": (1, 3)}, graph)}
    assert len(plans) == 1
    assert Plan({"a": [1, 3]}, graph) != Plan({"a": [1, 2]}, graph)
    assert Plan({"a": [1, 3]}, graph) != "a plan"


@pytest.mark.parametrize("kept", [0.0, -0.1, 1.0001, float("nan")])
def test_uniform_refuses_fractions_outside_its_range(graph: GroupGraph, kept: float) -> None:
    with pytest.raises(PlanError, match=r"kept must be in \(0, 1\]"):
        Plan.uniform(graph, kept)


@pytest.mark.parametrize("name", GRAPHS)
def test_uniform_one_keeps_everything_and_almost_nothing_keeps_the_floors(name: str) -> None:
    graph = GRAPHS[name]
    assert Plan.uniform(graph, 1.0).widths.tolist() == graph.widths.tolist()
    assert Plan.uniform(graph, 1e-9).widths.tolist() == graph.floors.tolist()


@given(name=st.sampled_from(sorted(GRAPHS)), kept=st.floats(1e-6, 1.0))
def test_uniform_keeps_the_fraction_to_the_nearest_atom_but_never_less_than_the_floor(
    name: str, kept: float
) -> None:
    graph = GRAPHS[name]
    plan = Plan.uniform(graph, kept)
    assert (plan.widths % graph.steps == 0).all()
    assert (plan.widths >= graph.floors).all()
    near = np.abs(plan.widths - graph.widths * kept) <= graph.steps / 2 + 1e-9
    assert (near | (plan.widths == graph.floors)).all()


def test_the_callers_own_scores_decide(graph: GroupGraph) -> None:
    scores = {group.name: np.arange(group.width)[::-1] for group in graph.groups}
    plan = Plan.from_widths(graph, np.array([2, 3, 4, 5]), scores)
    assert [plan.kept[name] for name in graph.names] == [
        tuple(range(width)) for width in (2, 3, 4, 5)
    ]


def test_a_plan_for_another_network_is_refused_by_tensor_name(graph: GroupGraph) -> None:
    with pytest.raises(PlanError, match=r"made for another network: '.+' should have shape"):
        Plan.uniform(graph, 0.5).apply(nets.build("gated"))


def test_a_plan_does_not_apply_to_a_network_that_it_has_already_pruned(graph: GroupGraph) -> None:
    plan = Plan.uniform(graph, 0.5)
    with pytest.raises(PlanError, match="another network"):
        plan.apply(plan.apply(nets.build("concat")))


def test_a_plan_applies_to_the_same_architecture_with_other_weights(graph: GroupGraph) -> None:
    plan = Plan.uniform(graph, 0.5)
    other = nets.build("concat", seed=9)
    small = plan.apply(other)
    kept = list(plan.kept["b"])
    assert small.b.weight.equal(other.b.weight[kept])


def test_the_text_shows_how_many_channels_stay(plain: Problem) -> None:
    text = repr(Plan.uniform(plain.graph, 0.5))
    assert f"{plain.graph.names[0]}: 8/16" in text
