"""The commands on networks with residual blocks and heads, and on layers that are to be kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rlprune.agents import PPOAgent, guided
from rlprune.agents.fallback import FallbackAgent
from rlprune.cli import main
from rlprune.data.registry import load_data
from rlprune.envs import OBSERVATION
from rlprune.models.registry import load_model
from rlprune.report.result import GroupRecord, read_result
from rlprune.surgery.storage import load_plan, load_pruned
from tests.conftest import ROOT

TRANSFORMER = f"{ROOT / 'tests' / 'transformer.py'}:transformer"
TRAIN = ("train", "--reward.latency", "0", "--episodes", "2", "--threads", "1")
IS_BLOCK = [feature.name for feature in OBSERVATION].index("block")


def row(printed: str, name: str) -> str:
    """The line of a table that a name begins."""
    return next(line for line in printed.splitlines() if line.strip("│ ").startswith(f"{name} "))


def inspected(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(["inspect", "--threads", "1", *words])
    return capsys.readouterr().out


def failed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "agent"
    budgets = ("--budget", "macs=0.5", "macs=0.3", "params=0.2")
    main([*TRAIN, "--model", "resnet20", "mlp", *budgets, "--out", str(run)])
    return run


def test_inspect_says_what_a_unit_of_every_group_is(capsys: pytest.CaptureFixture[str]) -> None:
    printed = inspected(capsys, "--model", TRANSFORMER)
    assert "4 heads" in row(printed, "blocks.0.qkv")
    assert "48 channels" in row(printed, "blocks.0.fc1")
    assert "1 block" in row(printed, "blocks.1 (block)")
    assert "left out" in row(printed, "embed")
    assert "one block removed" in " ".join(printed.split())


def test_inspect_marks_what_removing_is_not_exact_for(capsys: pytest.CaptureFixture[str]) -> None:
    printed = inspected(capsys, "--model", TRANSFORMER, "--residual-width", "--no-sensitivity")
    assert "32 channels" in row(printed, "embed")
    assert "inexact: LayerNorm" in row(printed, "embed")


def test_inspect_shows_kept_layers_as_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", "resnet20", "--no-sensitivity", "--keep", "blocks.1", "blocks.4.*")
    printed = inspected(capsys, *words)
    for name in ("blocks.1.conv1", "blocks.1 (block)"):
        assert "left out" in row(printed, name)
        assert "kept by the user" in row(printed, name)
    assert "kept by the user" in row(printed, "blocks.4.conv1")
    assert "channels" in row(printed, "blocks.0.conv1")


@pytest.mark.parametrize("command", ["inspect", "train", "apply"])
def test_a_pattern_that_matches_nothing_is_one_line_with_the_closest_layer(
    command: str, agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "out"))
    words = {
        "inspect": ("inspect", "--model", "resnet20"),
        "train": (*TRAIN, "--model", "resnet20", *out),
        "apply": ("apply", str(agent), "--model", "resnet20", *out),
    }[command]
    message = failed(capsys, *words, "--keep", "blocks.0", "block.1")
    assert message.count("\n") == 1
    assert "unknown layer to keep 'block.1'; did you mean 'blocks.1'?" in message
    assert list(tmp_path.iterdir()) == []


def test_a_config_file_can_name_what_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "inspect.toml"
    config.write_text('keep = ["blocks.0", "blocks.1.qkv"]\nresidual_width = true\n')
    words = ("--model", TRANSFORMER, "--no-sensitivity", "--config", str(config))
    assert "left out" in row(inspected(capsys, *words), "blocks.1.qkv")


def test_train_and_apply_leave_kept_layers_alone(agent: Path, tmp_path: Path) -> None:
    keep = ("--keep", "features.0", "--threads", "1")
    main([*TRAIN, "--model", "plain_cnn", *keep, "--out", str(tmp_path / "train")])
    settings = json.loads((tmp_path / "train" / "config.json").read_text())
    assert settings["keep"] == ["features.0"]
    out = tmp_path / "out"
    main(["apply", str(agent), "--model", "plain_cnn", *keep, "--out", str(out)])
    dense = load_model("plain_cnn", load_data("digits")).module.state_dict()
    kept = load_pruned(out / "model").state_dict()
    assert torch.equal(kept["features.0.weight"], dense["features.0.weight"])
    reasons = {item.name: item.reason for item in read_result(out).left_out}
    assert reasons["features.0"] == "kept by the user (features.0)"


def test_apply_narrows_a_transformer_only_when_asked_for(tmp_path: Path) -> None:
    words = ("apply", "uniform", "--model", TRANSFORMER, "--threads", "1")
    narrow = ("--residual-width", "--budget", "params=0.2")
    main([*words, *narrow, "--out", str(tmp_path / "narrow")])
    groups = {group.name: group for group in read_result(tmp_path / "narrow").groups}
    assert groups["embed"].kept < groups["embed"].width
    assert groups["blocks.0.qkv"].units[0] == 4
    main([*words, "--out", str(tmp_path / "wide")])
    assert "embed" not in {group.name for group in read_result(tmp_path / "wide").groups}


def test_an_agent_that_removes_blocks_leaves_a_report_that_says_so(
    agent: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PPOAgent, "_action", lambda _, seen: -0.9 * float(seen[IS_BLOCK]))
    monkeypatch.setattr(guided, "MOST_PROFILED", 1)
    monkeypatch.setattr(guided, "neighbours", lambda _: [])
    monkeypatch.setattr(FallbackAgent, "propose", lambda self, *some: self.agent.propose(*some))
    out = tmp_path / "out"
    words = ("--model", "resnet20", "--budget", "macs=0.3", "--threads", "1", "--out", str(out))
    main(["apply", str(agent), *words])
    printed = capsys.readouterr().out
    assert "removed" in row(printed, "blocks.1 (block)")
    assert "gone with its block" in row(printed, "blocks.1.conv1")
    groups = {group.name: group for group in read_result(out).groups}
    block = groups["blocks.1 (block)"]
    assert block == GroupRecord(name=block.name, width=1, kept=0, kind="block", step=1)
    assert groups["blocks.1.conv1"].kept == 0
    assert groups["blocks.3.conv1"].kept > 0
    assert load_plan(out / "model").kept["blocks.1 (block)"] == ()
    assert "blocks.1 (block)" in (out / "model" / "README.md").read_text()
    result = read_result(out)
    assert result.pruned is not None
    small = load_pruned(out / "model")
    assert sum(p.numel() for p in small.parameters()) == result.pruned.params
    assert small(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    main(["review", str(out)])
    assert "gone with its block" in capsys.readouterr().out
