"""Rows of the coverage benchmark: what counts as supported, shares, and the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from coverage_report import CHECKS, MOST_PARAMS_LEFT, Measured, read, summary, write


def row(model: str = "timm:a", **found: Any) -> Measured:
    fine: dict[str, Any] = {
        "family": "convolutional",
        "params_left": 0.3,
        "checks": dict.fromkeys(CHECKS, "ok"),
        "seconds": {"trace": 2.0},
    }
    return Measured(model=model, **fine | found)


def shares(rows: list[Measured]) -> dict[tuple[str, str], tuple[float, int]]:
    return {(r.case, r.metric): (r.value, r.n) for r in summary(rows)}


@pytest.mark.parametrize(
    "checks",
    [{"params": "ok"}, {"resolution": "n/a"}, {"masked": "ok (in float64: 1e-12; float32: 2e-3)"}],
)
def test_a_network_is_supported_when_no_check_fails(checks: dict[str, str]) -> None:
    assert row(checks=checks, params_left=MOST_PARAMS_LEFT).problems == []


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ({"checks": {"params": "ok", "macs": "FAIL: by 3 %"}}, "macs by 3 %"),
        ({"params_left": 0.7}, "70% of the parameters are left"),
        ({"status": "hang", "reason": "trace: more than 9 s"}, "hang: trace: more than 9 s"),
    ],
)
def test_a_network_that_is_not_supported_says_why(found: dict[str, Any], problem: str) -> None:
    assert row(**found).problems == [problem]


def test_shares_are_of_the_networks_that_a_check_applies_to() -> None:
    failing = row(checks={"params": "ok", "onnx": "FAIL: no"})
    found = shares([row(), failing, row(checks={"params": "ok", "onnx": "n/a"})])
    assert found["all", "supported"] == (pytest.approx(2 / 3), 3)
    assert found["all", "params"] == (1.0, 3)
    assert found["all", "onnx"] == (0.5, 2)
    assert found["all", "masked"] == (1.0, 1)


def test_shares_are_by_source_and_family_too() -> None:
    rows = [row("timm:a"), row("torchvision:b"), row("timm:c", family=None, status="crash")]
    found = shares(rows)
    assert found["timm, convolutional", "supported"] == (1.0, 1)
    assert found["torchvision, convolutional", "supported"] == (1.0, 1)
    assert found["timm, unknown", "supported"] == (0.0, 1)


def test_the_seconds_of_traces_are_a_median() -> None:
    found = shares([row(seconds={"trace": s}) for s in (1.0, 9.0, 2.0)] + [row(seconds={})])
    assert found["all", "median trace, s"] == (2.0, 3)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "coverage.json"
    rows = [row("timm:a"), row("timm:b", checks={"onnx": "FAIL: x | y"})]
    assert read(path) == {}
    write(path, path.with_suffix(".md"), rows)
    assert read(path) == {r.model: r for r in rows}
    assert json.loads(path.read_text())["unsupported"] == {"timm:b": ["onnx x | y"]}
    assert "| timm:b | onnx x / y |" in path.with_suffix(".md").read_text()
    assert not list(path.parent.glob("*.partial"))


def test_every_line_of_the_large_table_has_as_many_cells_as_its_heading(tmp_path: Path) -> None:
    path = tmp_path / "coverage.json"
    write(path, path.with_suffix(".md"), [row(checks={"params": "FAIL: a | b"})])
    table = path.with_suffix(".md").read_text().partition("## All networks")[2].split("\n")
    heading, rule, line = filter(None, table)
    assert heading.count("|") == rule.count("|") == line.count("|")
