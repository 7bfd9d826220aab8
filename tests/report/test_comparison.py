"""Tables and page of a comparison."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from rlprune.compare.cells import SCRATCH
from rlprune.compare.result import Comparison, Dense, Refusal, read_comparison
from rlprune.report.comparison import comparison_page
from rlprune.report.comparison_tables import sheets, terminal_tables
from rlprune.report.result import Device
from tests.compare.rows import row


def comparison(metric: str = "accuracy", methods: tuple[str, ...] = ("random",)) -> Comparison:
    rows = [
        row(method, seed, 0.8 + 0.01 * seed + 0.02 * (method != "uniform"), budget, kept=kept)
        for budget, kept in (("macs=0.4", 0.4), ("macs=0.2", 0.2))
        for method in ("uniform", *methods, SCRATCH)
        for seed in (0, 1, 2)
    ]
    return Comparison(
        model="net",
        data="<digits>",
        seed=0,
        seeds=3,
        device=Device(name="cpu", type="cpu", threads=1, torch="2"),
        budgets=("macs=0.4", "macs=0.2"),
        methods=("uniform", *methods, SCRATCH),
        evaluations=200,
        finetune_steps=45,
        dense=(Dense(model="net", metric=metric, accuracy=0.99, macs=1000, params=100),),
        rows=tuple(rows),
        refused=(
            Refusal(model="net", method="x", budget="macs=0.4", seed=0, reason="needs <labels>"),
        ),
        notes=("masks are missing",),
    ).with_statistics()


def test_a_comparison_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(comparison().to_json())
    assert read_comparison(file) == comparison()
    assert '"schema": 1' in file.read_text()
    file.write_text('{"command": "apply"}')
    assert read_comparison(file) is None


def test_rows_hold_the_keys_of_the_contract() -> None:
    keys = {
        "method",
        "budget",
        "seed",
        "evaluations",
        "kept_macs",
        "kept_latency",
        "score_search",
        "accuracy_repaired",
        "accuracy_50_steps",
        "accuracy_finetuned",
        "seconds",
    }
    assert keys <= comparison().rows[0].model_dump().keys()


@pytest.mark.parametrize(
    ("metric", "mean", "gain"), [("accuracy", "81.0", "+2.0"), ("psnr_db", "0.81", "+0.02")]
)
def test_the_best_method_comes_first_with_its_gain(metric: str, mean: str, gain: str) -> None:
    first = sheets(comparison(metric))[0]
    by_method = {cells[0].rstrip("*"): cells for cells in first.rows}
    assert next(iter(by_method)) == "random"
    assert any(cell.startswith(mean) for cell in by_method["uniform"])
    assert by_method["random"][-1].startswith(gain)
    assert by_method["uniform"][-1] == "-"
    assert "macs=0.4" in first.title


def test_the_page_is_self_contained_and_escapes_names() -> None:
    page = comparison_page(comparison())
    assert "needs &lt;labels&gt;" in page
    assert "&lt;digits&gt;" in page
    assert "masks are missing" in page
    assert not re.search(r"(src|href)='(?!data:)", page)
    assert page.count("<img") == 1


def test_the_tables_fit_a_terminal_of_80_columns() -> None:
    text = io.StringIO()
    console = Console(file=text, width=80)
    for table in terminal_tables(comparison(methods=("global-taylor-second-order-rank",))):
        console.print(table)
    printed = text.getvalue()
    assert "global-taylor-second-order-rank" in printed
    assert "…" not in printed


def test_a_stage_that_was_left_out_is_no_column() -> None:
    columns = sheets(comparison())[0].columns
    assert "tuned" in columns
    assert "50 steps" not in columns
