"""Analytic costs against a brute-force sum of products."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rlprune.cost.analytic import AnalyticCost, Term

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


@settings(deadline=None)
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
