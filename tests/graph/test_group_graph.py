"""The graph as data: round trips, names, ranking and shares."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rlprune.errors import PlanError, UnknownNameError
from rlprune.graph.group_graph import Group, GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import BUILTIN_NAMES
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests import nets
from tests.conftest import GetProblem
from tests.oracles import random_plan


def round_trip(graph: GroupGraph) -> GroupGraph:
    return GroupGraph.model_validate_json(graph.model_dump_json())


@pytest.mark.parametrize("name", nets.PRUNABLE)
def test_json_holds_the_whole_graph(name: str) -> None:
    graph = trace(nets.build(name), nets.images(2))
    again = round_trip(graph)
    assert again == graph
    plan = random_plan(graph, 1)
    there = Plan(plan.kept, again)
    assert (again.macs(there), again.params(there)) == (graph.macs(plan), graph.params(plan))


@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_json_holds_the_graph_of_a_built_in_network(name: str, problem_of: GetProblem) -> None:
    graph = problem_of(name).graph
    assert round_trip(graph) == graph


def test_a_graph_cannot_be_changed_and_refuses_unknown_keys(plain: Problem) -> None:
    with pytest.raises(ValidationError):
        plain.graph.groups = ()
    document = {**plain.graph.model_dump(), "extra": 1}
    with pytest.raises(ValidationError):
        GroupGraph.model_validate(document)


def test_an_unknown_group_is_answered_with_the_closest_one(plain: Problem) -> None:
    name = plain.graph.names[0]
    with pytest.raises(UnknownNameError, match=f"did you mean '{name}'"):
        plain.graph.group(name + "x")


def test_the_text_shows_every_group_and_what_is_left_out(plain: Problem) -> None:
    text = str(plain.graph)
    assert all(group.name in text and str(group.width) in text for group in plain.graph.groups)
    assert "left out" in text
    assert all(item.name in text for item in plain.graph.left_out)


def test_the_share_that_goes_with_a_group_is_what_removing_it_saves(plain: Problem) -> None:
    graph = plain.graph
    for g, share in enumerate(graph.removed_share()):
        widths = graph.widths.copy()
        widths[g] = 0
        assert share == pytest.approx(1 - int(graph.macs_of(widths)) / graph.macs())
        assert 0 < share <= 1


@st.composite
def groups(draw: st.DrawFn) -> Group:
    step = draw(st.integers(1, 3))
    n = draw(st.integers(1, 40))
    atoms = draw(st.permutations([i for i in range(n) for _ in range(step)])) if step > 1 else ()
    return Group(name="g", width=n * step, members=("g",), step=step, atoms=tuple(atoms))


@given(group=groups())
def test_a_floor_is_the_least_number_of_whole_atoms_that_is_enough(group: Group) -> None:
    enough = min(group.width, max(4, math.ceil(0.05 * group.width)))
    assert group.floor % group.step == 0
    assert enough <= group.floor <= group.width
    assert group.floor - group.step < enough


@given(group=groups(), data=st.data())
def test_the_best_atoms_are_kept(group: Group, data: st.DataObject) -> None:
    scores = np.array(
        data.draw(
            st.lists(st.floats(0, 10), min_size=group.width, max_size=group.width), label="scores"
        )
    )
    width = data.draw(st.integers(0, group.width // group.step)) * group.step
    kept = group.keep_best(scores, width)
    assert len(set(kept)) == width
    assert list(kept) == sorted(kept)
    atoms = np.array(group.atoms or range(group.width))
    inside = set(atoms[list(kept)].tolist())
    assert set(np.flatnonzero(np.isin(atoms, list(inside))).tolist()) == set(kept)
    totals = np.array([scores[atoms == a].sum() for a in range(group.width // group.step)])
    worst = min((totals[a] for a in inside), default=math.inf)
    best_removed = max((t for a, t in enumerate(totals) if a not in inside), default=-math.inf)
    assert worst >= best_removed - 1e-9


def test_graphs_are_equal_by_what_they_describe_however_they_were_used(plain: Problem) -> None:
    used = plain.graph
    again = GroupGraph.model_validate(used.model_dump())
    assert used.widths.tolist() == again.widths.tolist()
    assert used == again
    first = again.groups[0].model_copy(update={"scores": again.groups[0].scores[::-1]})
    assert used != again.model_copy(update={"groups": (first, *again.groups[1:])})
    assert used != 1


def test_scores_of_the_wrong_length_are_refused(plain: Problem) -> None:
    with pytest.raises(PlanError, match="needs 16 scores"):
        plain.graph.groups[0].keep_best([1.0, 2.0], 1)


def test_scores_that_are_not_numbers_are_refused_with_the_group(plain: Problem) -> None:
    graph = plain.graph
    scores = {group.name: [1.0] * group.width for group in graph.groups}
    scores["features.3"][2] = math.nan
    with pytest.raises(PlanError, match="'features.3' has scores that are not numbers"):
        Plan.from_widths(graph, graph.widths // 2, scores)
