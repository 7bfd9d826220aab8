"""The study goes on where it stopped, and tells a score that ranks from one that does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from search_score_cells import BUDGETS, MEASURED, NETWORKS, Line, jobs_left
from search_score_learned import add_held_out, fitted, graph_of, losses
from search_score_table import Case, cases_of, rows_of
from study_search_score import powers_of, read

from rlprune.evaluate.search_score.learned import log_features

POWERS = {"divergence": 0.5, "params": 1.0, "bottleneck": 0.0, "depth": 0.0}


def lines_of(plans: int, seeds: int = 2) -> list[Line]:
    """A finished study in which a perfect score and noise are known."""
    rng = np.random.default_rng(0)
    lines: list[Line] = []
    for network in NETWORKS:
        for budget in BUDGETS:
            for plan in range(plans):
                case = {"network": network, "budget": budget, "plan": plan}
                reached = 0.8 + 0.1 * plan / plans
                for seed in range(seeds):
                    noisy = reached + 0.001 * rng.normal()
                    found = {"accuracy": noisy, "accuracy_50": noisy, "widths": [4, plan], "cpu": 1}
                    lines.append({**case, "what": seed, **found})
                for name in MEASURED:
                    value = 1 - reached if name == "kl" else rng.random() + 0.1
                    measured = {"value": value, "quality": 0.5, "cpu": 3.0, "pass": 1.5}
                    lines.append({**case, "what": name, **measured})
    return lines


def test_a_study_begins_with_the_first_plans_of_all_cases_and_repeats_nothing() -> None:
    every = list(jobs_left([], plans=4, seeds=2))
    cases = len(NETWORKS) * len(BUDGETS)
    assert len(every) == len(set(every)) == cases * 4 * 3
    assert {job.plan for job in every[: cases * 3]} == {0}
    lines = lines_of(plans=2)
    assert all(job.plan >= 2 for job in jobs_left(lines, plans=4, seeds=2))
    without = [one for one in lines if one["what"] != "synflow"]
    left = list(jobs_left(without, plans=2, seeds=2))
    assert {(job.seed, job.scores) for job in left} == {(None, ("synflow",))}


def test_a_line_that_was_cut_off_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    assert read(path) == []
    path.write_text('{"what": 0}\n{"what": "k')
    assert read(path) == [{"what": 0}]


def test_the_table_ranks_a_perfect_score_first_and_noise_nowhere() -> None:
    cases = cases_of(lines_of(plans=20))
    rows = {(row.case, row.metric): row for row in rows_of(cases, default="kl")}
    perfect = rows["kl, 240 steps", "Spearman / ceiling"]
    assert perfect.value == pytest.approx(1.0, abs=0.02)
    assert (perfect.ok, perfect.target, perfect.n) == (True, "at least 0.85", len(cases))
    assert rows["kl, 240 steps", "top-1 regret, points"].value < 0.3
    assert abs(rows["synflow, 240 steps", "Spearman"].value) < 0.3
    assert rows["synflow, 240 steps", "top-1 regret, points"].value > 1
    assert rows["kl (recalibrate)", "cost, forward passes"].value == 2.0


def test_plans_that_miss_a_seed_or_a_score_are_left_out() -> None:
    lines = lines_of(plans=8)
    lines = [one for one in lines if (one["plan"], one["what"]) not in ((3, 1), (5, "kl"))]
    assert {len(case.widths) for case in cases_of(lines)} == {6}


def simulated(network: str, seed: int, plans: int = 40) -> Case:
    """Plans whose error after fine-tuning is what `POWERS` say."""
    graph, rng = graph_of(network), np.random.default_rng(seed)
    shares = rng.uniform(0.3, 1.0, (plans, len(graph.groups)))
    widths = np.maximum((shares * graph.widths).astype(np.int64), graph.floors)
    divergence = rng.uniform(0.1, 3.0, plans)
    logs = [log_features(graph, w, d) for w, d in zip(widths, divergence, strict=True)]
    errors = [0.1 * np.exp(sum(p * one[name] for name, p in POWERS.items())) for one in logs]
    accuracy = np.repeat(1 - np.array(errors)[:, None], 2, 1)
    scores = {name: divergence for name in MEASURED}
    reached = {"accuracy": accuracy, "accuracy_50": accuracy}
    return Case(network, "macs=0.5", widths, scores, reached, dict.fromkeys(MEASURED, 1.0))


def test_powers_are_recovered_and_serve_a_network_that_was_held_out() -> None:
    cases = [simulated(network, seed) for seed, network in enumerate(("vgg", "mobilenetv2"))]
    whole = fitted(cases, "kl")
    assert whole == pytest.approx(POWERS, abs=0.1)
    fits = add_held_out(cases)
    other = fitted(cases[1:], "kl")  # the first case sees the second one only
    assert cases[0].losses["learned"] == pytest.approx(losses(cases[0], "kl", other))
    for case in cases:
        assert case.quality_of(case.losses["learned"], "accuracy")["Spearman"] > 0.95
    assert {row.case for row in powers_of(fits)} == {f"{name}, fit" for name in fits}
