"""What follows from rows."""

from __future__ import annotations

import pytest

from rlprune.compare.cells import SCRATCH
from rlprune.compare.records import OVERALL
from rlprune.compare.summary import differences, fidelities, fronts, summaries, volumes
from tests.compare.rows import row

ROWS = [
    row("uniform", 0, 0.80),
    row("uniform", 1, 0.90),
    row("random", 0, 0.82),
    row("random", 1, 0.92),
    row("uniform", 0, 0.60, "macs=0.2", kept=0.2),
    row("uniform", 1, 0.70, "macs=0.2", kept=0.2),
    row("random", 0, 0.60, "macs=0.2", kept=0.2),
    row("random", 1, 0.80, "macs=0.2", kept=0.2),
]


def test_means_are_over_the_seeds_of_one_method_at_one_budget() -> None:
    found = {(one.method, one.budget): one for one in summaries(ROWS)}
    assert len(found) == 4
    last = found["random", "macs=0.4"].accuracy["finetuned"]
    assert last is not None
    assert (last.n, last.mean) == (2, pytest.approx(0.87))
    assert found["random", "macs=0.4"].accuracy["50_steps"] is None
    assert found["random", "macs=0.4"].kept_latency is None


def test_differences_are_paired_by_seed_and_ties_are_losses() -> None:
    found = {d.budget: d for d in differences(ROWS, "uniform") if d.stage == "finetuned"}
    assert set(found) == {"macs=0.4", "macs=0.2", OVERALL}
    gain = found["macs=0.4"].difference
    # The spread between seeds, 0.1, is not in the differences.
    assert (gain.mean, gain.sd) == (pytest.approx(0.02), pytest.approx(0.0, abs=1e-9))
    assert found["macs=0.4"].wins == 2
    assert found["macs=0.2"].wins == 1
    overall = found[OVERALL].difference
    assert (overall.n, overall.mean) == (2, pytest.approx((0.01 + 0.06) / 2))


def test_a_seed_without_a_partner_is_left_out() -> None:
    found = differences([*ROWS[:4], row("random", 2, 0.1)], "uniform")
    assert {d.difference.n for d in found} == {2}


def test_the_front_is_over_methods_and_budgets() -> None:
    summary = summaries([*ROWS, row("wasteful", 0, 0.5, kept=0.4), row("wasteful", 1, 0.5)])
    found = {(f.method, f.budget) for f in fronts(summary) if f.stage == "finetuned"}
    assert found == {("random", "macs=0.4"), ("random", "macs=0.2")}


def test_the_better_method_has_the_larger_volume() -> None:
    found = {v.method: v.hypervolume for v in volumes(ROWS) if v.stage == "finetuned"}
    # seed 0 of uniform: 0.6 from 0.2 to 0.4, then 0.8 up to 1
    assert found["uniform"].mean == pytest.approx((0.12 + 0.48 + 0.14 + 0.54) / 2)
    assert found["random"].mean > found["uniform"].mean


def test_fidelity_takes_each_network_once_and_never_the_control() -> None:
    rows = [
        row("a", 0, 0.9, score=0.1),
        row("b", 0, 0.8, score=0.2),
        row("c", 0, 0.7, score=0.3),
        row("same as a", 0, 0.9, score=0.1, plan="a-0"),
        row(SCRATCH, 0, 0.99, score=None),
    ]
    (found,) = fidelities(rows)
    assert (found.n, found.spearman, found.stage) == (3, pytest.approx(1.0), "finetuned")
    assert (found.regret_top_1, found.regret_top_3) == (0.0, 0.0)


def test_what_was_not_trained_has_no_fidelity() -> None:
    assert fidelities([row("a", 0, 0.9, finetuned=False)]) == ()
