"""The commands as a user types them, with right and wrong input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlprune.cli import main
from rlprune.models.registry import build_model
from rlprune.report.result import read_result
from rlprune.report.terminal import short
from rlprune.surgery.storage import load_pruned
from tests.conftest import ROOT

BUDGET = "macs=0.5,params=0.6"
TRAIN = ("train", "--model", "mlp", "--budget", BUDGET, "--reward.latency", "0")
FAST = ("--episodes", "16", "--threads", "1")


def fail(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must fail with exit code 2; return what it printed on standard error."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run on the MLP."""
    run = tmp_path_factory.mktemp("runs") / "train"
    main([*TRAIN, *FAST, "--out", str(run)])
    return run


@pytest.fixture(scope="module")
def applied(trained: Path) -> Path:
    """An apply run on another network than the agent was trained on."""
    run = trained.parent / "apply"
    words = ["apply", str(trained), "--model", "plain_cnn", "--budget", BUDGET]
    main([*words, "--finetune-epochs", "1", "--threads", "1", "--out", str(run)])
    return run


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert capsys.readouterr().out == f"rlprune {project['version']}\n"


def test_train_leaves_the_run_folder_of_the_design(trained: Path) -> None:
    expected = {
        "command.txt",
        "config.json",
        "versions.json",
        "result.json",
        "report.html",
        "tensorboard",
        "agent",
    }
    assert {path.name for path in trained.iterdir()} == expected
    assert {path.name for path in (trained / "agent").iterdir()} == {
        "agent.json",
        "policy.safetensors",
        "README.md",
    }
    result = read_result(trained)
    assert result.training is not None
    assert result.training.episodes == len(result.training.returns) >= 16
    assert (trained / "command.txt").read_text().startswith("rlprune train --model mlp")


def test_apply_leaves_a_smaller_model_that_meets_both_budgets(applied: Path) -> None:
    document = json.loads((applied / "result.json").read_text())
    assert document["schema"] == 1
    assert {b["quantity"]: b["achieved"] <= b["kept"] for b in document["budgets"]} == {
        "macs": True,
        "params": True,
    }
    for stage in ("dense", "pruned", "finetuned"):
        assert document[stage]["split"] == "test"
        assert set(document[stage]["latency_ms"]) == {"batch_1", "batch_64"}
    small = load_pruned(applied / "model")
    assert sum(p.numel() for p in small.parameters()) == document["finetuned"]["params"]
    assert document["finetuned"]["params"] < document["dense"]["params"]
    kept = {group["name"]: group["kept"] for group in document["groups"]}
    plan = json.loads((applied / "model" / "plan.json").read_text())["kept"]
    assert {name: len(indices) for name, indices in plan.items()} == kept
    assert not [p for p in applied.rglob("*") if p.suffix in {".pkl", ".pt", ".pth", ".zip"}]


def test_a_saved_model_loads_in_a_new_process_without_tracing(applied: Path) -> None:
    code = (
        "import sys, torch, rlprune\n"
        f"model = rlprune.load({str(applied / 'model')!r}).requires_grad_(False)\n"
        "print(float(model(torch.ones(2, 1, 8, 8)).abs().sum()))\n"
        "assert 'torch_pruning' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    model = load_pruned(applied / "model").requires_grad_(False)
    here = float(model(torch.ones(2, 1, 8, 8)).abs().sum())
    assert float(done.stdout) == pytest.approx(here, rel=1e-6)


def test_review_prints_the_numbers_of_the_runs(
    trained: Path, applied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["review", str(trained), str(applied)])
    printed = capsys.readouterr().out
    assert "plain_cnn" in printed
    assert short(read_result(applied).dense.macs) in printed  # type: ignore[union-attr]
    assert "tensorboard --logdir_spec" in printed


def test_inspect_lists_groups_and_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", "--model", "plain_cnn", "--no-sensitivity"])
    printed = capsys.readouterr().out
    assert "features.0" in printed
    assert "output of the model" in printed


def test_resume_continues_from_the_agent(trained: Path, tmp_path: Path) -> None:
    main([*TRAIN, *FAST, "--resume", str(trained), "--out", str(tmp_path / "more")])
    result = read_result(tmp_path / "more")
    first = read_result(trained)
    assert result.training is not None
    assert first.training is not None
    before, _ = next(iter(result.training.deterministic.values()))
    _, after = next(iter(first.training.deterministic.values()))
    assert before == pytest.approx(after)


def test_resuming_an_agent_of_another_size_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag, value in (("hidden", "8"), ("description-scale", "0.5"), ("ranking", "l2")):
        words = (*TRAIN, *FAST, "--resume", str(trained), f"--ppo.{flag}", value)
        said = fail(capsys, *words, "--out", str(tmp_path / "more"))
        assert "--ppo.hidden 64 --ppo.ranking layer-obs --ppo.description-scale 1.0" in said
    assert list(tmp_path.iterdir()) == []


def test_a_config_file_gives_flags_and_typed_ones_win(tmp_path: Path) -> None:
    config = tmp_path / "train.toml"
    config.write_text(
        'model = ["mlp"]\nepisodes = 9999\nthreads = 1\n[reward]\nlatency = 0\n[ppo]\nhidden = 8\n'
    )
    run = tmp_path / "run"
    main(["train", "--config", str(config), "--episodes", "8", "--out", str(run)])
    settings = json.loads((run / "config.json").read_text())
    assert settings["ppo"]["hidden"] == 8
    assert settings["episodes"] == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "--model", "resnet2", "--out", "OUT"), "did you mean 'resnet20'"),
        (("train", "--model", "mlp", "--data", "digit", "--out", "OUT"), "did you mean 'digits'"),
        (("train", "--model", "mlp", "--budget", "mac=0.5", "--out", "OUT"), "mean 'macs'"),
        (("train", "--model", "mlp", "--budget", "macs=2", "--out", "OUT"), "(0, 1]"),
        (("train", "--model", "mlp", "--budget", "macs=0.0001", "--out", "OUT"), "can go from"),
        (("train", "--model", "mlp", "--episodes", "0", "--out", "OUT"), "greater than"),
        (("train", "--model", "mlp", "--device", "tpu9", "--out", "OUT"), "not available"),
        (("train", "--model", "mlp", "--weights", "no.safetensors", "--out", "OUT"), "no.safe"),
        (("train", "--model", "no/such.py:factory", "--out", "OUT"), "such.py"),
        (("train", "--model", "mlp", "--config", "no.toml", "--out", "OUT"), "no.toml"),
        (("apply", "nowhere", "--model", "mlp", "--out", "OUT"), "there is no folder nowhere"),
        (("apply", "tests", "--model", "mlp", "--out", "OUT"), "agent.json is missing"),
        (
            ("apply", "uniform", "--model", "mlp", "--evaluations", "5", "--out", "OUT"),
            "uniform does not search; leave --evaluations out",
        ),
        (
            ("apply", "uniform", "--model", "mlp", "--adapt", "8", "--out", "OUT"),
            "uniform is no trained agent",
        ),
        (("train", "--model", "mlp", "--seed", "-1", "--out", "OUT"), "greater than or equal"),
        (("apply", "--model", "mlp", "--seed", "4294967296", "--out", "OUT"), "less than"),
        (("train", "--model", "mlp", "--reward.clip", "inf", "--out", "OUT"), "finite"),
        (("train", "--model", "mlp", "--ppo.ranking", "taylr", "--out", "OUT"), "mean 'taylor'"),
        (("review", "nowhere"), "result.json is missing"),
        (("trian", "--model", "mlp"), "train"),
        (("train", "--modle", "mlp", "--out", "OUT"), "--model"),
    ],
)
def test_wrong_input_is_explained_and_writes_nothing(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    message = fail(capsys, *(str(out) if word == "OUT" else word for word in words))
    assert said in message
    assert list(tmp_path.iterdir()) == []


def test_finished_work_is_never_overwritten(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "result.json").read_bytes()
    assert "already holds" in fail(capsys, *TRAIN, *FAST, "--out", str(trained))
    assert (trained / "result.json").read_bytes() == before


def test_nan_in_the_weights_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_model("mlp", in_channels=1, num_classes=10, image_size=8)
    state = model.state_dict()
    name = next(iter(state))
    state[name].view(-1)[0] = float("nan")
    save_file(state, tmp_path / "bad.safetensors")
    words = (*TRAIN, "--weights", str(tmp_path / "bad.safetensors"), "--out", str(tmp_path / "o"))
    assert name in fail(capsys, *words)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("damage", ["missing policy", "altered policy"])
def test_a_damaged_agent_is_refused_before_anything_is_written(
    damage: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = tmp_path / "agent"
    agent.mkdir()
    for path in (trained / "agent").iterdir():
        (agent / path.name).write_bytes(path.read_bytes())
    if damage == "missing policy":
        (agent / "policy.safetensors").unlink()
    else:
        weights = load_file(agent / "policy.safetensors")
        save_file({k: v + 1 for k, v in weights.items()}, agent / "policy.safetensors")
    words = ("apply", str(agent), "--model", "mlp", "--out", str(tmp_path / "out"))
    message = fail(capsys, *words)
    assert message.count("\n") == 1
    assert damage.split()[0] in message
    assert not (tmp_path / "out").exists()


def test_a_budget_beyond_the_agents_takes_the_heuristic_and_says_why(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", "mlp", "--budget", "macs=0.3", "--threads", "1")
    for name, agent in (("agent", str(trained)), ("heuristic", "sensitivity")):
        main(["apply", agent, *words, "--out", str(tmp_path / name)])
    said = "the agent was trained at macs from 0.5 to 0.5, params from 0.6 to 0.6, and macs=0.3 is"
    assert said in " ".join(capsys.readouterr().out.split())
    search = read_result(tmp_path / "agent").search
    assert search.fallback
    assert said in str(search.fallback_reason)
    plans = [(tmp_path / n / "model" / "plan.json").read_bytes() for n in ("agent", "heuristic")]
    assert plans[0] == plans[1]


def test_ctrl_c_leaves_an_agent_that_can_be_applied(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*TRAIN, "--episodes", "100000", "--threads", "1", "--out", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-m", "rlprune", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    events = run / "tensorboard"
    for _ in range(600):
        if events.is_dir() and any(events.iterdir()):
            break
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors.decode()
    result = read_result(run)
    assert result.training is not None
    assert result.training.interrupted
    main(["apply", str(run), "--model", "mlp", "--threads", "1", "--out", str(tmp_path / "out")])
    assert read_result(tmp_path / "out").pruned is not None
