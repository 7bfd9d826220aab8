"""Latency on the command line: budgets, tables, workers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlprune.cli import main
from rlprune.report.result import read_result
from tests.test_cli import fail

QUICK = (
    "--threads=1",
    "--latency.batch-size=16",
    "--latency.rounds=3",
    "--latency.round-ms=0.1",
    "--latency.report",
    "1",
    "8",
)
LATENCY = ("--budget", "latency=1", "--round-to", "4")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent trained on a latency budget beside one of MACs, with its run folder."""
    run = tmp_path_factory.mktemp("latency") / "train"
    budgets = ["--budget", "macs=0.5,latency=1", "latency=1"]
    main(["train", "--model", "mlp", *budgets, "--episodes", "8", "--out", str(run), *QUICK])
    return run


def test_a_latency_budget_is_measured_end_to_end(
    agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["apply", str(agent), "--model", "mlp", *LATENCY, *QUICK, "--out", str(tmp_path / "run")])
    printed = capsys.readouterr().out
    assert "mlp: latency can go from" in printed
    assert "to 1 of the dense network's; 1 is asked for" in printed
    result = read_result(tmp_path / "run")
    (budget,) = result.budgets
    assert budget.quantity == "latency"
    assert budget.achieved is not None
    assert budget.interval is not None
    assert budget.interval[0] <= budget.achieved <= budget.interval[1]
    assert budget.predicted is not None
    assert budget.predicted != budget.achieved
    assert result.pruned is not None
    assert set(result.pruned.latency_ms) == {"batch_1", "batch_8"}
    assert result.device.runtime == "eager"
    assert all(g.kept % 4 == 0 or g.kept == g.width for g in result.groups)


def test_runs_keep_their_tables_and_repeat_with_them(agent: Path, tmp_path: Path) -> None:
    table = agent / "latency_table.json"
    assert json.loads(table.read_text())["points"]
    plans = []
    for name in ("one", "two"):
        words = ["apply", str(agent), "--model", "mlp", "--budget", "macs=0.5", "--evaluations=3"]
        frozen = ["--latency-table", str(table), "--cache-dir", str(tmp_path / name)]
        main([*words, *frozen, *QUICK, "--out", str(tmp_path / name / "run")])
        plans.append(json.loads((tmp_path / name / "run" / "model" / "plan.json").read_text()))
    assert plans[0]["kept"] == plans[1]["kept"]


def test_a_cache_folder_is_filled_and_used(
    agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    words = ["apply", str(agent), "--model", "mlp", *LATENCY, *QUICK, "--cache-dir", str(cache)]
    main([*words, "--out", str(tmp_path / "one")])
    kinds = [json.loads(path.read_text())["kind"] for path in cache.iterdir()]
    # The profile, reconstruction errors, latency table and granularity; then plans in batches.
    assert len(set(kinds)) == 5
    assert len(kinds) - kinds.count("plans-1") == 4

    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("rlprune.latency.stored.measure_table", unexpected)
    main([*words, "--out", str(tmp_path / "two")])
    one, two = read_result(tmp_path / "one"), read_result(tmp_path / "two")
    assert one.search.profile_evaluations == two.search.profile_evaluations


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runtime", "tensorrt"], "invalid choice 'tensorrt'"),
        (["--latency.batch-size", "0"], "greater than or equal to 1"),
        (["--latency.report", "0"], "greater than or equal to 1"),
        (["--threads", "4096"], "too few for 4096 threads"),
        (["--workers", "4096"], "--workers"),
        (["--workers", "0"], "greater than or equal to 1"),
        (["--round-to", "0"], "greater than or equal to 1"),
        (["--budget", "latency=0.001"], "latency can go from"),
        (["--budget", "latency"], "is not QUANTITY=KEPT"),
        (["--latency-table", "nowhere.json", "--budget", "latency=1"], "nowhere.json"),
        (["--latency-table", "a.json", "b.json", "--budget", "latency=1"], "one file per model"),
    ],
)
def test_bad_input_is_refused_by_name_and_leaves_nothing(
    words: list[str], message: str, agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    given = ["apply", str(agent), "--model", "mlp", *QUICK, *words, "--out", str(out)]
    assert message in " ".join(fail(capsys, *given).split())
    assert not out.exists()


def test_a_cache_that_is_a_file_is_refused(
    agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["apply", str(agent), "--model", "mlp", "--cache-dir", str(tmp_path / "file")]
    assert "is a file" in fail(capsys, *words, *QUICK, "--out", str(tmp_path / "run"))
