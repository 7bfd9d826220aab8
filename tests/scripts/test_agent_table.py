"""The study's claims follow from its cells: won ones, lost ones, ties, and who is picked."""

from __future__ import annotations

import math

import pytest
from agent_table import CONTROLS, LEAST_WINS, PICKED, RIVALS, SEARCHES, Return, Unit, table
from bench import Row

from rlprune.compare.cells import Accuracies
from rlprune.compare.cells import Row as Cell
from rlprune.compare.records import STAGES
from tests.compare.rows import row

AGENTS = ("agent@0", PICKED, "agent@20", "agent@200")


def cell(method: str, budget: str, seed: int, score: float, accuracy: float = 0.9) -> Cell:
    values = Accuracies(repaired=accuracy, after_50_steps=accuracy, finetuned=accuracy)
    known = {f"accuracy_{stage}": accuracy for stage in STAGES} | {"validation": values}
    return row(method, seed, accuracy, budget, score=score).model_copy(update=known)


def unit(seed: int, scores: dict[str, float], accuracies: dict[str, float]) -> Unit:
    """Five budgets; methods without a score have 1, without an accuracy 0.9."""
    methods = (*RIVALS, *CONTROLS, *AGENTS, *SEARCHES)
    rows = tuple(
        cell(
            method, f"macs={place / 10}", seed, scores.get(method, 1.0), accuracies.get(method, 0.9)
        )
        for method in methods
        for place in range(1, 6)
    )
    paid = tuple(
        Return(
            network=f"n{i}",
            budget="",
            trained=0.1 + i / 100,
            shuffled=0.1,
            unwatched=None,
            chance=-1,
        )
        for i in range(4)
    )
    return Unit(part="without-x", seed=seed, commit="", rows=rows, returns=paid)


def found(units: list[Unit], case: str, metric: str) -> Row:
    (row,) = [one for one in table(units) if (one.case, one.metric) == (case, metric)]
    return row


WON = ("held-out families, agent@0", "cells with a better score than all rivals")


def test_a_cell_is_won_where_all_rivals_are_worse() -> None:
    better = unit(0, {"agent@0": 0.8}, {})
    assert found([better], *WON).value == 1.0
    assert found([better], *WON).ok
    one_better = unit(0, {"agent@0": 0.8, "knapsack": 0.7}, {})
    assert found([one_better], *WON).value == 0.0
    assert found([better, one_better.model_copy(update={"seed": 1})], *WON).n == 5


def test_a_tie_is_lost() -> None:
    row = found([unit(0, {}, {})], *WON)
    assert (row.value, row.ok) == (0.0, False)


def test_four_of_five_are_enough() -> None:
    units = [unit(seed, {"agent@0": 0.8}, {}) for seed in range(5)]
    units[0] = unit(0, {"agent@0": 1.2}, {})
    rows = [row.model_copy(update={"seed": one.seed}) for one in units for row in one.rows]
    whole = units[0].model_copy(update={"rows": tuple(rows)})
    row = found([whole], *WON)
    assert row.value == pytest.approx(LEAST_WINS)
    assert row.ok


@pytest.mark.parametrize(("ours", "holds"), [(0.93, True), (0.91, False)])
def test_accuracy_is_compared_with_the_rival_that_validation_picks(
    ours: float, holds: bool
) -> None:
    units = [unit(seed, {}, {"agent@0": ours + seed / 1000, "knapsack": 0.92}) for seed in range(3)]
    case, metric = WON[0], "accuracy - the rival's that validation picks, 50_steps"
    row = found(units, case, metric)
    assert row.value == pytest.approx(ours + 0.001 - 0.92)
    assert row.ok is holds


def test_gains_are_logarithms_of_ratios_of_scores() -> None:
    units = [unit(seed, {"agent@20": 0.5, "cmaes@200": 0.6}, {}) for seed in range(2)]
    case = "held-out families, agent@20"
    assert found(units, case, "gain on cmaes@200").value == pytest.approx(math.log(0.6 / 0.5))
    assert found(units, case, "gain on cmaes@200").ok
    assert found(units, case, "gain on guided@20").ok is None


def test_to_be_as_good_is_enough_with_20_evaluations_and_not_with_200() -> None:
    units = [unit(0, {}, {})]
    assert found(units, "held-out families, agent@20", "gain on evolution@200").ok
    more = "gain on evolution@200, as many in all"
    rows = [r.model_copy(update={"best_so_far": ()}) for r in units[0].rows]
    ties = units[0].model_copy(update={"rows": tuple(rows)})
    assert not found([ties], "held-out families, agent@200", more).ok


def test_a_search_is_cut_to_what_its_rival_took_in_all() -> None:
    """Rivals take 13; a profile of 11 leaves two, by when 0.3 was found, and not 0.1."""
    one = unit(0, {"agent@0": 0.35, "agent@200": 0.1, "cmaes@200": 0.4}, {})
    rows = [
        row.model_copy(update={"profile_evaluations": 11}) if row.method == "agent@200" else row
        for row in one.rows
    ]
    whole = one.model_copy(update={"rows": tuple(rows)})
    case = "held-out families, agent@200"
    cut = found([whole], case, "gain on cmaes@200, as many in all")
    assert cut.value == pytest.approx(math.log(0.4 / 0.3))
    assert cut.ok
    assert found([whole], case, "gain on cmaes@200").value == pytest.approx(math.log(4))
    assert found([one], case, "gain on cmaes@200, as many in all").value == pytest.approx(
        math.log(4)
    )


def test_what_policies_are_paid_is_compared_problem_by_problem() -> None:
    units = [unit(0, {}, {})]
    case = "without-x, 4 networks of the pool"
    assert found(units, case, "return; that of the untrained policy is 0").ok
    assert found(units, case, "return - a random policy's").value == pytest.approx(1.115)
    assert not found(units, case, "return - with shuffled features").ok  # one of four is a tie
    assert all("dynamics" not in row.metric for row in table(units))


def test_a_rival_without_an_answer_is_not_beaten_and_no_answer_of_ours_is_a_loss() -> None:
    better = unit(0, {"agent@0": 0.8}, {})
    without = [row for row in better.rows if row.method != "knapsack" or row.budget != "macs=0.1"]
    rows = table([better.model_copy(update={"rows": tuple(without)})])
    of_one = {row.metric: row for row in rows if row.case == WON[0]}
    assert of_one["cells with a better score than knapsack"].n == 4
    assert of_one["gain on knapsack"].n == 4
    silent = [row for row in better.rows if row.method != "agent@0" or row.budget != "macs=0.1"]
    assert found([better.model_copy(update={"rows": tuple(silent)})], *WON).value == 0.8


def test_problems_of_one_network_are_no_independent_evidence() -> None:
    once = unit(0, {}, {})
    often = once.model_copy(update={"returns": once.returns * 50})
    case, metric = "without-x, 4 networks of the pool", "return; that of the untrained policy is 0"
    assert found([often], case, metric).n == 4
    assert found([often], case, metric).low == pytest.approx(found([once], case, metric).low)


def test_seeds_of_a_network_and_budget_are_no_independent_cells() -> None:
    units = [unit(seed, {"agent@20": 1 - seed / 10}, {}) for seed in range(3)]
    row = found(units, "held-out families, agent@20", "gain on cmaes@200")
    assert row.n == 5
    assert row.value == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 3)


def test_a_part_that_judges_another_parts_agent_pays_no_policy_anew() -> None:
    other = unit(0, {}, {}).model_copy(update={"part": "resnet56", "returns": ()})
    cases = {row.case for row in table([unit(0, {}, {}), other])}
    assert "resnet56, agent@20" in cases
    assert [case for case in cases if "of the pool" in case] == [
        "without-x, 4 networks of the pool"
    ]


def test_finalists_are_compared_with_as_many_rivals_and_with_the_plain_answer() -> None:
    accuracies = {"agent@0": 0.91, PICKED: 0.93, "knapsack": 0.92}
    one = unit(0, {}, accuracies)
    plain, picked = "held-out families, agent@0", f"held-out families, {PICKED}"
    metric = "accuracy - the rival's that validation picks, 50_steps"
    assert [found([one], case, metric).ok for case in (plain, picked)] == [False, True]
    gained = found([one], picked, "accuracy - that of agent@0, 50_steps")
    assert gained.value == pytest.approx(0.02)
    without = tuple(row for row in one.rows if row.method != PICKED)
    cases = {row.case for row in table([one.model_copy(update={"rows": without})])}
    assert plain in cases
    assert picked not in cases
