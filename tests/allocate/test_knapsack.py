"""The knapsack finds the least sum of losses, pays for its curves, and removes blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlprune.allocate.curves import Losses, curve_cuts, interpolated
from rlprune.allocate.knapsack import knapsack, least_loss
from rlprune.allocate.uniform import uniform
from rlprune.cache.store import Store
from rlprune.cost.budget import Budget
from rlprune.cost.costs import Costs
from rlprune.data.splits import DataSplits
from rlprune.graph.group_graph import GroupGraph
from rlprune.models.registry import LoadedModel
from rlprune.problem import Problem
from tests.allocate.graphs import GRAPHS, channel_groups, narrowest
from tests.conftest import GetProblem


def synthetic(graph: GroupGraph, seed: int) -> Losses:
    """Losses that grow faster and faster as a group narrows, each on its own scale."""
    rng = np.random.default_rng(seed)
    losses = np.zeros((len(graph.groups), graph.widths.max() + 1))
    for g, width in enumerate(graph.widths):
        removed = 1 - np.arange(width + 1) / width
        losses[g, : width + 1] = rng.uniform(0.1, 3) * removed ** rng.uniform(1.2, 3)
    return losses


def total(losses: Losses, widths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(losses[np.arange(len(losses)), widths].sum(axis=-1))


def brute_force(costs: Costs, budget: Budget, losses: Losses) -> float:
    """Return the least total loss of all widths that meet the budget."""
    graph = costs.graph
    allowed = [
        range(low, high + 1, step)
        for low, high, step in zip(graph.floors, graph.widths, graph.steps, strict=True)
    ]
    every = np.array(list(itertools.product(*allowed)))
    return float(total(losses, every)[budget.usage(costs, every) <= 1].min())


@pytest.mark.parametrize("name", ["ghost", "concat", "gated"])
@pytest.mark.parametrize("quantities", [("macs",), ("params",), ("macs", "params")])
def test_on_losses_that_add_up_it_finds_the_optimum(name: str, quantities: tuple[str, ...]) -> None:
    graph = GRAPHS[name]
    costs, rng = Costs(graph), np.random.default_rng(0)
    gaps = []
    for seed in range(20):
        losses, share = synthetic(graph, seed), rng.uniform(0.1, 0.8)
        least = {q: costs.reachable(q) for q in quantities}
        budget = Budget(tuple((q, low + share * (1 - low)) for q, low in least.items()))
        widths = least_loss(costs, budget, losses)
        assert budget.usage(costs, widths) <= 1
        gaps.append(float(total(losses, widths)) / brute_force(costs, budget, losses) - 1)
        even = budget.decode(costs, np.ones(len(graph.groups)))
        assert total(losses, widths) <= total(losses, even)
    assert np.median(gaps) == 0
    assert np.mean(gaps) < 0.02  # costs are products, so a local optimum is not always the best


@pytest.mark.parametrize("round_to", [1, 4])
@pytest.mark.parametrize("name", sorted(GRAPHS))
@pytest.mark.parametrize("limits", ["macs=0.5", "params=0.4", "macs=0.6,params=0.5"])
def test_every_budget_floor_and_step_is_met(name: str, limits: str, round_to: int) -> None:
    graph, budget = GRAPHS[name], Budget.parse(limits)
    costs = Costs(graph, None, round_to)
    if any(costs.reachable(quantity) > kept for quantity, kept in budget.limits):
        pytest.skip("out of reach in steps of 4")
    widths = least_loss(costs, budget, synthetic(graph, 1))
    assert budget.usage(costs, widths) <= 1
    assert (widths >= costs.floors).all()
    assert ((widths % costs.steps == 0) | (widths == graph.widths)).all()


def test_a_block_goes_only_where_that_costs_less_than_narrowing() -> None:
    graph = GRAPHS["resnet20"]
    costs, budget = Costs(graph), Budget.parse("macs=0.6")
    losses = synthetic(graph, 2)
    block = int(np.flatnonzero(graph.is_block)[0])
    others = graph.is_block & (np.arange(len(graph.groups)) != block)
    losses[graph.is_block, 0] = 1e3
    assert (least_loss(costs, budget, losses)[graph.is_block] == 1).all()
    losses[block, 0] = 1e-6
    widths = least_loss(costs, budget, losses)
    assert widths[block] == 0
    assert (widths[others] == 1).all()
    assert total(losses, widths) < 1e3


def test_a_budget_of_one_costs_nothing() -> None:
    graph = GRAPHS["resnet20"]
    widths = least_loss(Costs(graph), Budget.parse("macs=1"), synthetic(graph, 0))
    assert widths.tolist() == graph.widths.tolist()


def test_free_channels_go_before_those_that_cost_something() -> None:
    graph = GRAPHS["plain_cnn"]
    losses = synthetic(graph, 0)
    losses[2] = 0
    widths = least_loss(Costs(graph), Budget.parse("macs=0.5"), losses)
    assert widths[2] == graph.floors[2]


# Curves


@settings(max_examples=60)
@given(name=st.sampled_from(sorted(GRAPHS)), seed=st.integers(0, 10**6))
def test_curves_meet_what_was_measured_and_never_fall_as_more_goes(name: str, seed: int) -> None:
    graph = GRAPHS[name]
    cuts = curve_cuts(graph)
    scores = np.random.default_rng(seed).exponential(1, len(cuts))
    losses = interpolated(graph, cuts, scores)
    assert (losses >= 0).all()
    for g, group in enumerate(graph.groups):
        assert (np.diff(losses[g]) <= 1e-12).all()
        assert losses[g, group.width] == pytest.approx(0, abs=1e-12)
        measured = {w: s for (one, w), s in zip(cuts[1:], scores[1:], strict=True) if one == g}
        for width in measured:
            worst = max(s for w, s in measured.items() if w >= width)
            assert losses[g, width] == pytest.approx(max(worst - scores[0], 0), abs=1e-12)


def test_cuts_are_whole_atoms_from_the_floor_up_and_blocks_go() -> None:
    for graph in GRAPHS.values():
        cuts = curve_cuts(graph)
        assert cuts[0] == (0, graph.widths[0])
        assert len(set(cuts)) == len(cuts)
        for g, width in cuts[1:]:
            assert narrowest(graph)[g] * (not graph.is_block[g]) <= width < graph.widths[g]
            assert width % graph.steps[g] == 0
        for g in channel_groups(graph):
            mine = [width for one, width in cuts[1:] if one == g]
            assert min(mine) == graph.floors[g]
            assert len(mine) <= 6
        assert all((g, 0) in cuts for g in np.flatnonzero(graph.is_block))


def test_curves_are_charged_once_for_all_budgets_and_the_plan_is_not(fresh_plain: Problem) -> None:
    plan = knapsack(fresh_plain)
    assert fresh_plain.budget.usage(fresh_plain.costs, plan.widths) <= 1
    spent = fresh_plain.uses()
    assert spent.evaluations == 0
    assert spent.profile_evaluations == len(curve_cuts(fresh_plain.graph))
    other = fresh_plain.with_budget(Budget.parse("macs=0.2"))
    assert knapsack(other) != plan
    assert fresh_plain.ledger.profile_evaluations == spent.profile_evaluations


def test_stored_curves_are_the_measured_ones_and_are_charged_like_them(
    tmp_path: Path, loaded: Callable[[str], LoadedModel], digits: DataSplits
) -> None:
    first, second = (
        Problem.build(loaded("plain_cnn"), digits, measure_latency=False, store=Store(tmp_path))
        for _ in range(2)
    )
    plan = knapsack(first)

    def unexpected(*_: object) -> None:
        raise AssertionError("measured again")

    second.evaluator.scorer.score = unexpected  # type: ignore[assignment,method-assign]
    assert knapsack(second) == plan
    assert second.ledger == first.ledger


@pytest.mark.parametrize("name", ["plain_cnn", "mlp"])
def test_the_sum_of_losses_is_less_than_that_of_equal_fractions(
    name: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name, "macs=0.4")
    losses = problem.curves
    assert total(losses, knapsack(problem).widths) < total(losses, uniform(problem).widths)
