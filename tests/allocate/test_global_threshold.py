"""One threshold for all groups: the same as trying every threshold, and never below a floor."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlprune.allocate.global_threshold import Ranking, global_threshold
from rlprune.cost.budget import Budget
from rlprune.cost.costs import Costs
from rlprune.criteria.base import ChannelScores
from rlprune.data.splits import DataSplits
from rlprune.errors import UnknownNameError
from rlprune.graph.group_graph import GroupGraph
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests import nets
from tests.allocate.graphs import GRAPHS, narrowest
from tests.conftest import GetProblem
from tests.transformer import transformer


@st.composite
def scored(draw: st.DrawFn) -> tuple[Costs, ChannelScores]:
    """A network with random scores, some of them equal, its groups on different scales."""
    graph = GRAPHS[draw(st.sampled_from(sorted(GRAPHS)), label="network")]
    rng = np.random.default_rng(draw(st.integers(0, 10**6), label="seed"))
    levels = draw(st.sampled_from([2, 5, 10**6]), label="levels")
    scores = {
        group.name: torch.from_numpy(
            rng.integers(0, levels, group.width) * np.exp(rng.normal(0, 2 * (levels > 5)))
        )
        for group in graph.groups
    }
    return Costs(graph, None, draw(st.sampled_from([1, 1, 4]), label="round to")), scores


def unit_scores(graph: GroupGraph, scores: ChannelScores) -> dict[int, npt.NDArray[np.float64]]:
    """Mean score of every set of tied channels, `{group: (sets,)}`."""
    found = {}
    for g, group in enumerate(graph.groups):
        if group.kind != "block":
            atoms = group.atom_of
            values = scores[group.name].double().numpy()
            found[g] = np.array([values[atoms == atom].mean() for atom in range(atoms.max() + 1)])
    return found


def brute_force(costs: Costs, scores: ChannelScores, budget: Budget) -> npt.NDArray[np.int64]:
    """Try every threshold, the lowest first; all scores have to be different."""
    graph, units = costs.graph, unit_scores(costs.graph, scores)
    for threshold in [-1.0, *np.sort(np.concatenate(list(units.values())))]:
        widths = graph.widths.copy()
        for g, values in units.items():
            left = int((values > threshold).sum()) * graph.groups[g].step
            widths[g] = max(left, costs.floors[g])
        if budget.usage(costs, widths) <= 1:
            return widths
    raise AssertionError("out of reach")


@settings(max_examples=80)
@given(case=scored())
def test_no_width_grows_with_the_threshold_and_floors_and_steps_hold(
    case: tuple[Costs, ChannelScores],
) -> None:
    costs, scores = case
    ranking = Ranking(costs, scores)
    every = [ranking.widths(removed) for removed in range(len(ranking) + 1)]
    assert every[0].tolist() == costs.graph.widths.tolist()
    assert every[-1].tolist() == np.where(costs.graph.is_block, 1, costs.floors).tolist()
    for wider, narrower in pairwise(every):
        assert (narrower <= wider).all()
        whole = narrower == costs.graph.widths
        assert ((narrower % costs.steps == 0) | whole).all()
        assert (narrower >= costs.floors).all()


@settings(max_examples=80)
@given(case=scored(), where=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_kept_sets_are_nested_between_budgets(
    case: tuple[Costs, ChannelScores], where: list[float]
) -> None:
    costs, scores = case
    graph = costs.graph
    least = float(costs.reachable("macs"))
    kept = []
    for share in sorted(where):
        budget = Budget((("macs", least + share * (1 - least)),))
        allocation = Ranking(costs, scores).allocation(budget)
        widths = np.rint(allocation * graph.widths).astype(np.int64)
        assert budget.usage(costs, widths) <= 1
        kept.append(Plan.from_widths(graph, widths, scores).kept)
        decoded = Plan.from_widths(graph, budget.decode(costs, allocation), scores)
        assert all(set(decoded.kept[name]) >= set(kept[-1][name]) for name in graph.names)
    assert all(set(kept[0][name]) <= set(kept[1][name]) for name in graph.names)


@pytest.mark.parametrize("name", sorted(GRAPHS))
@pytest.mark.parametrize("limits", ["macs=0.5", "params=0.4", "macs=0.6,params=0.5"])
def test_the_threshold_is_the_one_that_trying_all_of_them_finds(name: str, limits: str) -> None:
    graph, budget = GRAPHS[name], Budget.parse(limits)
    costs, rng = Costs(graph), np.random.default_rng(3)
    for _ in range(5):
        scores = {g.name: torch.from_numpy(rng.exponential(1, g.width)) for g in graph.groups}
        allocation = Ranking(costs, scores).allocation(budget)
        expected = brute_force(costs, scores, budget)
        assert (allocation * graph.widths).tolist() == pytest.approx(expected.tolist())
        decoded = budget.decode(costs, allocation)
        assert (decoded >= expected).all()


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_no_unit_that_goes_is_worth_more_than_one_that_stays_above_its_floor(name: str) -> None:
    graph = GRAPHS[name]
    rng = np.random.default_rng(4)
    scores = {g.name: torch.from_numpy(rng.exponential(1, g.width)) for g in graph.groups}
    widths = Ranking(Costs(graph), scores).widths(10)
    units = unit_scores(graph, scores)
    left = {g: widths[g] // graph.steps[g] for g in units}
    gone = max(np.sort(v)[: len(v) - left[g]].max(initial=0) for g, v in units.items())
    free = [g for g in units if widths[g] > graph.floors[g]]
    assert gone <= min(np.sort(units[g])[::-1][: left[g]].min() for g in free)


def test_equal_scores_leave_groups_evenly(plain: Problem) -> None:
    graph = plain.graph
    equal = {group.name: torch.ones(group.width) for group in graph.groups}
    allocation = Ranking(plain.costs, equal).allocation(plain.budget)
    assert np.ptp(allocation) < 1.5 / graph.widths.min()


def test_without_floors_the_l1_norm_would_empty_layers_at_half_the_channels(
    plain: Problem,
) -> None:
    """The reference network of methods.md A02: widths 16, 16, 32, 32 and 64."""
    graph, scores = plain.graph, plain.scores("l1")
    values = np.concatenate([scores[name].numpy() for name in graph.names])
    median = np.median(values)
    without_floors = [int((scores[name].numpy() > median).sum()) for name in graph.names]
    assert graph.widths.tolist() == [16, 16, 32, 32, 64]
    assert min(without_floors) <= 2
    ranking = Ranking(plain.costs, scores)
    removed = int((values <= median).sum())
    assert ranking.widths(removed).min() == graph.floors.min() == 4
    plan = global_threshold(plain, "l1")
    assert (plan.widths >= graph.floors).all()
    assert plan.widths.min() == 4


@pytest.mark.parametrize("criterion", ["l1", "l2", "taylor"])
def test_the_fractions_differ_between_groups_and_blocks_stay(
    criterion: str, problem_of: GetProblem
) -> None:
    problem = problem_of("resnet20", "macs=0.4")
    plan = global_threshold(problem, criterion)
    channels = ~problem.graph.is_block
    assert np.ptp((plan.widths / problem.graph.widths)[channels]) > 0.2
    assert problem.graph.bypassed(plan.kept) == []
    assert 0.98 < problem.budget.usage(problem.costs, plan.widths) <= 1


def test_ranks_make_it_uniform(plain: Problem) -> None:
    scores = plain.scores("l2", "rank")
    fractions = Ranking(plain.costs, scores).allocation(plain.budget)
    assert np.ptp(fractions) < 1.5 / plain.graph.widths.min()
    widths = global_threshold(plain, "l2", "rank").widths
    assert (widths >= np.rint(fractions * plain.graph.widths)).all()  # the decoder fills up


def test_channels_are_kept_by_the_criterion_that_the_threshold_is_over(plain: Problem) -> None:
    plan, scores = global_threshold(plain, "taylor"), plain.scores("taylor")
    assert plan == Plan.from_widths(plain.graph, plan.widths, scores)
    assert plan != Plan.from_widths(plain.graph, plan.widths)


@pytest.mark.parametrize("name", ["ghost", "transformer"])
def test_tied_channels_and_heads_go_together(name: str, digits: DataSplits) -> None:
    network = transformer() if name == "transformer" else nets.build(name)
    problem = Problem.build(network, digits, "params=0.5", measure_latency=False)
    plan = global_threshold(problem, "l2", "mean")
    assert (plan.widths % problem.graph.steps == 0).all()
    assert (plan.widths >= narrowest(problem.graph)).all()
    assert problem.budget.usage(problem.costs, plan.widths) <= 1


def test_unknown_criteria_and_normalisers_are_refused(plain: Problem) -> None:
    with pytest.raises(UnknownNameError, match="normaliser 'max'"):
        global_threshold(plain, "l2", "max")
    with pytest.raises(UnknownNameError, match="criterion 'l3'"):
        global_threshold(plain, "l3")
