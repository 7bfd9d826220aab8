"""Analytic costs against a brute-force sum of products."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rlprune.cost.analytic import AnalyticCost, Term
from tests.cost.test_budget import GRAPHS

N_GROUPS = 3


@st.composite
def terms(draw: st.DrawFn) -> Term:
    size = st.tuples(
        st.integers(0, 5).map(float),
        st.dictionaries(st.integers(0, N_GROUPS - 1), st.integers(0, 4).map(float)),
    )
    return Term(float(draw(st.integers(0, 50))), tuple(draw(st.lists(size, max_size=3))))


def brute_force(all_terms: list[Term], widths: list[int]) -> int:
    total = 0.0
    for term in all_terms:
        product = term.coefficient
        for constant, slopes in term.sizes:
            product *= constant + sum(slope * widths[g] for g, slope in slopes.items())
        total += product
    return round(total)


@given(
    all_terms=st.lists(terms(), max_size=5),
    widths=st.lists(
        st.lists(st.integers(0, 64), min_size=N_GROUPS, max_size=N_GROUPS), min_size=1, max_size=4
    ),
)
def test_costs_are_the_sum_of_the_products_for_one_and_for_many_width_vectors(
    all_terms: list[Term], widths: list[list[int]]
) -> None:
    cost = AnalyticCost(all_terms, N_GROUPS)
    expected = [brute_force(all_terms, row) for row in widths]
    assert cost(np.array(widths)).tolist() == expected
    assert [int(cost(row)) for row in widths] == expected
    assert cost(np.array([widths, widths])).tolist() == [expected, expected]


@given(name=st.sampled_from(sorted(GRAPHS)), seed=st.integers(0, 1000))
def test_one_width_changed_at_a_time_costs_what_the_whole_vector_costs(
    name: str, seed: int
) -> None:
    graph, rng = GRAPHS[name], np.random.default_rng(seed)
    widths, changed = (rng.integers(1, graph.widths + 1) for _ in range(2))
    matrix = np.where(np.eye(len(widths), dtype=bool), changed, widths)
    for cost in (graph.macs_of, graph.params_of):
        assert cost.each_changed(widths, changed).tolist() == cost(matrix).tolist()


def test_a_network_without_groups_costs_its_constants() -> None:
    cost = AnalyticCost([Term(3.0, ((2.0, {}),)), Term(5.0, ())], 0)
    none = np.zeros(0, dtype=np.int64)
    assert cost(none) == 11
    assert cost(np.zeros((4, 0))).tolist() == [11] * 4
    assert cost.each_changed(none, none).tolist() == []
