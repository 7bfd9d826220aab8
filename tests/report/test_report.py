"""Results, tables, warnings, pages and cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.table import Table

from rlprune.config import ReviewSettings
from rlprune.errors import RunError
from rlprune.report.card import model_card
from rlprune.report.page import report_page
from rlprune.report.picture import result_figure
from rlprune.report.result import (
    BudgetRecord,
    Device,
    GroupRecord,
    Measured,
    Metric,
    Result,
    Search,
    Timing,
    TrainingRecord,
    read_result,
)
from rlprune.report.run_folder import check_free, next_free, write_header
from rlprune.report.terminal import groups_table, result_table, rows_of, short, warnings_of

SEARCH = Search(
    method="ppo",
    agent=None,
    profile_evaluations=9,
    evaluations=3,
    cache_hits=1,
    seconds=1.5,
    fallback=False,
)


def measured(macs: int, latency_ms: float) -> Measured:
    timing = Timing(median=latency_ms, p90=2 * latency_ms)
    return Measured(
        accuracy=0.9,
        metric=Metric(name="accuracy", value=0.9),
        split="test",
        macs=macs,
        params=10 * macs,
        bytes=40 * macs,
        activation_bytes=7 * macs,
        latency_ms={"batch_1": timing, "batch_64": timing},
    )


def result(pruned_ms: float = 0.5, self_ratio: float = 1.0, **changes: object) -> Result:
    fields: dict[str, object] = {
        "command": "apply",
        "model": "<net>",
        "data": "digits-8",
        "seed": 0,
        "device": Device(name="cpu", type="cpu", threads=2, torch="2"),
        "budgets": (BudgetRecord(quantity="macs", kept=0.5, achieved=0.4),),
        "dense": measured(1000, 1.0),
        "pruned": measured(400, pruned_ms),
        "latency_self_ratio": {"batch_1": self_ratio, "batch_64": 1.0},
        "search": SEARCH,
        "groups": (GroupRecord(name="conv", width=8, kept=3),),
    }
    return Result.model_validate(fields | changes)


def test_a_result_survives_a_round_trip_through_its_file(tmp_path: Path) -> None:
    written = result()
    (tmp_path / "result.json").write_text(written.to_json())
    assert read_result(tmp_path) == written
    assert '"schema": 1' in written.to_json()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}'])
def test_a_damaged_result_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(RunError, match="damaged"):
        read_result(tmp_path)


def test_the_table_relates_every_network_to_the_dense_one() -> None:
    dense, pruned = rows_of(result())
    assert dense[0] == "dense"
    assert "400 (40%)" in pruned
    assert "4k (40%)" in pruned
    assert "16kB" in pruned
    assert "2.8kB" in pruned
    assert "0.50 ms (50%)" in pruned


GROUPS = (
    GroupRecord(name="conv", width=8, kept=3),
    GroupRecord(name="qkv", width=96, kept=48, kind="heads", step=24),
    GroupRecord(name="body.0.fc", width=48, kept=0),
    GroupRecord(name="body.0 (block)", width=1, kept=0, kind="block"),
    GroupRecord(name="body.1 (block)", width=1, kept=1, kind="block"),
)


def cells(table: Table) -> list[tuple[str, ...]]:
    return [tuple(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_the_table_of_groups_counts_channels_heads_and_blocks() -> None:
    assert cells(groups_table(result(groups=GROUPS))) == [
        ("conv", "channels", "8", "3", "38%"),
        ("qkv", "heads", "4", "2", "50%"),
        ("body.0.fc", "channels", "48", "0", "gone with its block"),
        ("body.0 (block)", "block", "1", "0", "removed"),
        ("body.1 (block)", "block", "1", "1", "stays"),
    ]


def test_picture_page_and_card_say_which_blocks_went() -> None:
    with_blocks = result(groups=GROUPS)
    kept = result_figure(with_blocks).axes[1]
    assert "1 of 2 blocks kept" in kept.get_title()
    assert [label.get_text() for label in kept.get_yticklabels()] == ["conv", "qkv", "body.0.fc"]
    assert "blocks" not in result_figure(result()).axes[1].get_title()
    assert report_page([with_blocks]).count("data:image/png;base64,") == 1
    assert "Removed as a whole: body.0 (block)." in model_card(with_blocks, loads_alone=True)
    assert "as a whole" not in model_card(result(), loads_alone=True)


def test_results_from_before_blocks_can_still_be_read() -> None:
    assert GroupRecord.model_validate({"name": "conv", "width": 8, "kept": 3}).units == (8, 3)


def test_the_libraries_of_a_run_are_those_that_it_needs(tmp_path: Path) -> None:
    write_header(tmp_path / "run", ReviewSettings(runs=(tmp_path,)), ["review"])
    versions = json.loads((tmp_path / "run" / "versions.json").read_text())
    assert {"python", "rlprune", "torch", "gymnasium", "stable-baselines3"} <= versions.keys()
    assert "torch-pruning" not in versions


def test_a_network_that_is_not_faster_is_reported_loudly() -> None:
    assert warnings_of(result(pruned_ms=0.5)) == []
    loud = warnings_of(result(pruned_ms=1.25))
    assert len(loud) == 2
    assert "NOT FASTER at batch 64: 1.25x" in loud[1]


def test_a_noisy_machine_is_reported() -> None:
    assert any("noisy" in text for text in warnings_of(result(self_ratio=1.3)))


def test_a_fallback_on_the_heuristic_is_reported() -> None:
    changes = {"fallback": True, "fallback_reason": "the agent is too young"}
    fallen = result(search=SEARCH.model_copy(update=changes))
    assert "the agent is too young" in warnings_of(fallen)


def test_the_page_is_self_contained_and_escapes_names() -> None:
    training = TrainingRecord(
        episodes=3, returns=(0.0, 0.1, 0.2), deterministic={"net": (0.0, 0.1)}, interrupted=True
    )
    trained = result(dense=None, pruned=None, command="train", training=training)
    page = report_page([result(), trained])
    assert "&lt;net&gt;" in page
    assert "<net>" not in page
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page
    assert "interrupted" in page


def test_the_card_says_how_to_load_the_model() -> None:
    assert 'rlprune.load("THIS_FOLDER")' in model_card(result(), loads_alone=True)
    assert "factory" in model_card(result(), loads_alone=False)


def test_a_taken_folder_is_refused_and_the_next_free_name_is_found(tmp_path: Path) -> None:
    taken = tmp_path / "demo"
    taken.mkdir()
    check_free(taken)
    assert next_free(taken) == taken
    (taken / "file").write_text("work")
    with pytest.raises(RunError, match="already holds"):
        check_free(taken)
    assert next_free(taken) == tmp_path / "demo-2"


def limited(achieved: float) -> Result:
    budget = BudgetRecord(
        quantity="latency", kept=0.6, achieved=achieved, interval=(0.57, 0.63), predicted=0.55
    )
    return result(budgets=(budget,))


def test_a_latency_budget_shows_what_was_measured_with_its_interval() -> None:
    title = str(result_table(limited(0.59)).title)
    assert "latency <= 0.6 (measured 0.590, 95 % interval 0.570 to 0.630)" in title
    assert warnings_of(limited(0.59)) == []


def test_a_missed_budget_is_reported_loudly() -> None:
    (warning,) = warnings_of(limited(0.61))
    assert "BUDGET MISSED: latency is 0.610" in warning


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1000, "1k"), (2_532_352, "2.53M"), (999_999, "1M"), (4.1e12, "4.1T")],
)
def test_counts_are_written_with_three_digits(count: float, text: str) -> None:
    assert short(count) == text


def test_a_latency_budget_measured_on_a_noisy_machine_is_reported() -> None:
    budget = limited(0.59).budgets[0].model_copy(update={"self_ratio": 1.08})
    (warning,) = warnings_of(result(budgets=(budget,)))
    assert "latencies of latency=0.6 are noisy: the dense network measured 1.08x itself" in warning
