"""`rlprune compare` as a user types it, and constraints of `rlprune apply`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlprune.agents.bundle import save_agent
from rlprune.agents.chosen import DEFAULT, Entrant, agent_for
from rlprune.agents.ppo import PPOAgent
from rlprune.agents.workbench import Workbench
from rlprune.cli import main
from rlprune.compare.cells import CellWarning
from rlprune.errors import CriterionError
from rlprune.report.result import read_result

MODEL = ("compare", "--model", "mlp", "--budget", "macs=0.5", "macs=0.2")
SIZE = ("--seeds", "2", "--evaluations", "20", "--finetune-steps", "4", "--no-quick-finetune")
METHODS = ("--methods", "sensitivity", "random")


def fail(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must fail with exit code 2; return what it printed on standard error."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    return capsys.readouterr().err


def rows_of(run: Path) -> list[dict[str, Any]]:
    """Rows of a run without times."""
    rows = json.loads((run / "result.json").read_text())["rows"]
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "compare"
    main([*MODEL, *METHODS, *SIZE, "--out", str(run)])
    return run


def test_a_comparison_leaves_every_cell_and_the_control(compared: Path) -> None:
    expected = {"command.txt", "config.json", "versions.json", "cells", "result.json"}
    assert {path.name for path in compared.iterdir()} == {*expected, "report.html"}
    rows = rows_of(compared)
    methods = ("uniform", "sensitivity", "random", "from-scratch")
    assert {(r["method"], r["budget"], r["seed"]) for r in rows} == {
        (method, budget, seed)
        for method in methods
        for budget in ("macs=0.5", "macs=0.2")
        for seed in (0, 1)
    }
    assert len(rows) == len(list((compared / "cells").iterdir())) == 16
    for row in rows:
        assert row["kept_macs"] <= float(row["budget"].removeprefix("macs="))
        assert row["evaluations"] + row["profile_evaluations"] <= 20
        assert row["kept_latency"] is None
        assert row["accuracy_50_steps"] is None
    by_method = {method: [r for r in rows if r["method"] == method] for method in methods}
    assert {r["evaluations"] for r in by_method["random"]} == {20}
    assert {r["evaluations"] for r in by_method["uniform"]} == {0}
    assert all(r["profile_evaluations"] > 0 for r in by_method["sensitivity"])
    assert [r["plan"] for r in by_method["from-scratch"]] == [
        r["plan"] for r in by_method["uniform"]
    ]
    assert {r["score_search"] for r in by_method["from-scratch"]} == {None}


def test_a_method_may_have_its_own_allowance_beside_its_profile(tmp_path: Path) -> None:
    methods = ("random@3", "evolution@4", "evolution@0")
    main([*MODEL[:4], "--methods", *methods, *SIZE, "--out", str(tmp_path / "run")])
    rows = {(r["method"], r["seed"]): r for r in rows_of(tmp_path / "run")}
    for seed in (0, 1):
        assert rows["random@3", seed]["evaluations"] == 3
        # The first plan is the heuristic's, which its profile has paid for.
        assert rows["evolution@4", seed]["evaluations"] == 3
        assert rows["evolution@4", seed]["profile_evaluations"] > 0
        assert rows["evolution@0", seed]["evaluations"] == 0


def test_validation_may_choose_among_the_best_plans_of_a_method(tmp_path: Path) -> None:
    names = ("guided@0", "guided@0/8")
    run, tune = (
        tmp_path / "run",
        ("--seeds", "2", "--evaluation.images", "128", "--finetune-steps", "0", "--threads", "1"),
    )
    words = ("compare", "--model", "plain_cnn", "--budget", "macs=0.1")
    main([*words, "--methods", *names, *tune, "--out", str(run)])
    rows = {(r["method"], r["budget"], r["seed"]): r for r in rows_of(run)}
    own, chosen = ([row for key, row in rows.items() if key[0] == name] for name in names)
    reached = [row["validation"]["after_50_steps"] for row in own]
    assert all(b["validation"]["after_50_steps"] >= a for a, b in zip(reached, chosen, strict=True))
    assert any(a["plan"] != b["plan"] for a, b in zip(own, chosen, strict=True))
    paid = ("evaluations", "profile_evaluations")
    assert [[row[k] for k in paid] for row in own] == [[row[k] for k in paid] for row in chosen]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("evolution", Entrant("evolution")),
        ("evolution@20", Entrant("evolution", 20)),
        ("runs/a@b/agent@0/6", Entrant("runs/a@b/agent", 0, 6)),
        ("evolution@", Entrant("evolution@")),
        ("evolution@4/0", Entrant("evolution@4/0")),
    ],
)
def test_an_entrant_is_a_method_its_evaluations_and_its_finalists(
    typed: str, meant: Entrant
) -> None:
    assert Entrant.parse(typed) == meant


def test_an_allowance_does_not_hide_an_unknown_method(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*MODEL, "--methods", "evolutoin@4", *SIZE, "--out", str(tmp_path / "run")]
    assert "evolution" in fail(capsys, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", ["@5", "@0/3"])
def test_an_allowance_of_what_does_not_search_is_refused(
    more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    said = fail(capsys, *MODEL, "--methods", f"uniform{more}", *SIZE, "--out", out)
    assert f"uniform does not search; leave {more} out" in said
    assert list(tmp_path.iterdir()) == []


def test_a_policy_trained_on_the_spot_stays_within_what_all_may_measure(tmp_path: Path) -> None:
    run = tmp_path / "run"
    more = ("--seeds", "1", "--evaluations", "48", "--finetune-steps", "0", "--no-quick-finetune")
    words = ("compare", "--model", "mlp", "--budget", "macs=0.4", "--methods", "ppo", *more)
    main([*words, "--threads", "1", "--out", str(run)])
    (row,) = [row for row in rows_of(run) if row["method"] == "ppo"]
    assert row["profile_evaluations"] > 0
    assert 16 < row["evaluations"] + row["profile_evaluations"] <= 48


def test_cells_of_an_agent_that_was_replaced_are_not_taken_for_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = agent_for(DEFAULT)
    assert isinstance(agent, PPOAgent)
    folder = tmp_path / "agent@2"  # not two evaluations of an agent
    save_agent(agent, folder)
    words = [*MODEL[:4], "--methods", f"{folder}@0", *SIZE, "--out", str(tmp_path / "run")]
    main(words)
    main(words)
    with torch.no_grad():
        next(agent.policy.action_net.parameters()).add_(1.0)
    save_agent(agent, folder)
    assert "by an agent that was changed since; choose another --out" in fail(capsys, *words)


def test_statistics_follow_the_rows(compared: Path) -> None:
    document = json.loads((compared / "result.json").read_text())
    assert {d["budget"] for d in document["differences"]} == {"macs=0.5", "macs=0.2", "all"}
    assert len(document["summary"]) == 8
    assert document["pareto"]
    assert document["hypervolume"]
    assert {f["stage"] for f in document["fidelity"]} == {"finetuned"}


def test_the_same_command_goes_on_where_it_was_interrupted(
    compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, begun = tmp_path / "run", []
    choose = Workbench.choose

    def interrupted(self: Workbench, cell: Any) -> Any:
        begun.append(cell)
        if len(begun) == 6:
            raise KeyboardInterrupt
        return choose(self, cell)

    monkeypatch.setattr(Workbench, "choose", interrupted)
    with pytest.raises(SystemExit) as stop:
        main([*MODEL, *METHODS, *SIZE, "--out", str(run)])
    assert stop.value.code == 130
    assert len(list((run / "cells").iterdir())) == 5
    assert not (run / "result.json").exists()
    main([*MODEL, *METHODS, *SIZE, "--out", str(run)])
    assert len(begun) == 6 + 11
    assert rows_of(run) == rows_of(compared)


def test_more_methods_and_seeds_may_follow_and_nothing_else(
    compared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, choose = [], Workbench.choose

    def watched(self: Workbench, cell: Any) -> Any:
        begun.append(cell.method)
        return choose(self, cell)

    monkeypatch.setattr(Workbench, "choose", watched)
    before = (compared / "result.json").read_bytes()
    out = ("--out", str(compared))
    other = ("--seeds", "2", "--evaluations", "21", *SIZE[4:])
    assert "--evaluations 20" in fail(capsys, *MODEL, *METHODS, *other, *out)
    assert "--budget" in fail(capsys, *MODEL[:-1], *METHODS, *SIZE, *out)
    assert "--methods" in fail(capsys, *MODEL, "--methods", "random", *SIZE, *out)
    assert (compared / "result.json").read_bytes() == before
    assert begun == []
    main([*MODEL, *METHODS, "global-l1", *SIZE, *out])
    assert begun == ["global-l1"] * 4
    main([*MODEL, *METHODS, "global-l1", *SIZE, *out])
    assert begun == ["global-l1"] * 4


@pytest.mark.slow
def test_workers_give_the_same_rows(compared: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    main([*MODEL, *METHODS, "global-l1", *SIZE, "--workers", "2", "--out", str(run)])
    rows = [row for row in rows_of(run) if row["method"] != "global-l1"]
    assert rows == [row for row in rows_of(compared) if row["method"] != "global-l1"]


@pytest.mark.slow
def test_five_budgets_six_strategies_and_three_seeds_are_on_equal_terms(tmp_path: Path) -> None:
    run, budgets = tmp_path / "run", ("0.6", "0.4", "0.2", "0.1", "0.05")
    methods = ("sensitivity", "global-l2", "knapsack", "random", "evolution")
    words = ("compare", "--model", "plain_cnn", "--budget", *(f"macs={kept}" for kept in budgets))
    main([*words, "--methods", *methods, "--threads", "1", "--out", str(run)])
    document = json.loads((run / "result.json").read_text())
    rows, everyone = document["rows"], {"uniform", *methods, "from-scratch"}
    assert len(rows) == 5 * len(everyone) * 3
    assert all(row["kept_macs"] <= float(row["budget"].removeprefix("macs=")) for row in rows)
    assert all(row["evaluations"] + row["profile_evaluations"] <= 200 for row in rows)
    assert {one["method"] for one in document["hypervolume"]} == everyone
    assert {one["stage"] for one in document["pareto"]} == {"repaired", "50_steps", "finetuned"}
    assert all(one["difference"]["n"] == 3 for one in document["differences"])


def test_a_damaged_cell_is_repeated(compared: Path) -> None:
    rows, settings = rows_of(compared), json.loads((compared / "config.json").read_text())
    next(iter((compared / "cells").iterdir())).write_text("{")
    with pytest.warns(CellWarning, match="is damaged"):
        main([*MODEL, "--methods", *settings["methods"], *SIZE, "--out", str(compared)])
    assert rows_of(compared) == rows


def test_a_method_that_does_not_suit_is_left_out_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, choose = tmp_path / "run", Workbench.choose

    def refusing(self: Workbench, cell: Any) -> Any:
        if cell.method == "local-screening":
            raise CriterionError("screening needs <labels>")
        return choose(self, cell)

    monkeypatch.setattr(Workbench, "choose", refusing)
    words = ("compare", "--model", "autoencoder", "--methods", "local-screening", "local-fpgm")
    size = ("--seeds", "1", "--finetune-steps", "2", "--no-quick-finetune")
    main([*words, *size, "--out", str(run)])
    document = json.loads((run / "result.json").read_text())
    assert {row["method"] for row in document["rows"]} == {"uniform", "local-fpgm", "from-scratch"}
    assert document["dense"][0]["metric"] == "psnr_db"
    (refused,) = document["refused"]
    assert (refused["method"], refused["reason"]) == ("local-screening", "screening needs <labels>")
    assert "screening needs" in capsys.readouterr().out
    assert "&lt;labels&gt;" in (run / "report.html").read_text()


def test_a_method_whose_profile_is_more_than_all_may_measure_is_left_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("--methods", "knapsack", "evolution", "random", "--seeds", "1", "--evaluations", "3")
    size = ("--finetune-steps", "0", "--no-quick-finetune")
    main([*MODEL[:-1], *words, *size, "--out", str(run)])
    document = json.loads((run / "result.json").read_text())
    assert {row["method"] for row in document["rows"]} == {"uniform", "random", "from-scratch"}
    reasons = {one["method"]: one["reason"] for one in document["refused"]}
    assert set(reasons) == {"knapsack", "evolution"}
    assert all("for its profile" in reason and "has 3;" in reason for reason in reasons.values())


def test_review_shows_a_comparison(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["review", str(compared)])
    printed = capsys.readouterr().out
    assert "from-scratch" in printed
    assert "macs=0.2" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*MODEL, "--methods", "sensitivty"), "did you mean 'sensitivity'"),
        ((*MODEL, "--methods", "global-tailor"), "did you mean 'taylor'"),
        ((*MODEL, *METHODS, "--seeds", "0"), "greater than"),
        ((*MODEL, "macs=0.0001", *METHODS), "can go from"),
        ((*MODEL, "macs", *METHODS), "QUANTITY=KEPT"),
        (MODEL, "--methods"),
        (("compare", *METHODS), "--model"),
        ((*MODEL, *METHODS, "--workers", "999"), "cores"),
        ((*MODEL, *METHODS, "--data", "digit"), "did you mean 'digits'"),
    ],
)
def test_wrong_input_is_explained_before_any_cell(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in fail(capsys, *words, "--out", str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_another_command_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"episodes": 1}')
    words = (*MODEL, *METHODS, "--out", str(tmp_path))
    assert "another command's run" in fail(capsys, *words)
    (tmp_path / "config.json").write_text("{")
    assert "damaged" in fail(capsys, *words)
    (tmp_path / "config.json").unlink()
    (tmp_path / "notes.txt").write_text("mine")
    assert "already holds" in fail(capsys, *words)


def test_apply_records_the_constraints_that_it_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("apply", "sensitivity", "--model", "mlp", "--constraint", "worst_recall>=0.8")
    main([*words, "accuracy_drop<=0.1", "--threads", "1", "--out", str(run)])
    result = read_result(run)
    assert result.constraints == ("worst_recall>=0.8", "accuracy_drop<=0.1")
    assert all(one.met and one.reached >= one.least for one in result.constraints_measured)
    assert (result.search.method, result.search.agent) == ("sensitivity", None)
    assert result.budgets[0].kept == 1
    assert result.budgets[0].achieved is not None
    assert result.budgets[0].achieved < 0.9


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ("accuracy>=1", "dense network itself"),
        ("accuracy>0.9", "METRIC>=VALUE"),
        ("psnr_db>=10", "psnr_db is a metric of reconstruction"),
    ],
)
def test_a_constraint_that_cannot_be_met_writes_nothing(
    constraint: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("apply", "uniform", "--model", "mlp", "--constraint", constraint)
    assert said in fail(capsys, *words, "--threads", "1", "--out", str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []
