"""Agents on disk: the same plans in another process, and no damaged agent gets in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlprune.agents import bundle, load_agent
from rlprune.agents.bundle import save_agent
from rlprune.envs import OBSERVATION
from rlprune.errors import AgentError
from rlprune.problem import Problem
from tests.agents.conftest import Run
from tests.conftest import GetProblem

PROPOSE = """
import json, sys
import torch
torch.set_num_threads(1)
from rlprune.agents import load_agent
from rlprune.config import EvaluationSettings
from rlprune.problem import Problem
agent = load_agent(sys.argv[1])
found = {}
for name in ("plain_cnn", "autoencoder"):
    exact = EvaluationSettings(score="kl", precision="float32")
    problem = Problem.build(name, "digits", "macs=0.4", evaluation=exact, measure_latency=False)
    for evaluations in (0, 4):
        found[f"{name}-{evaluations}"] = agent.propose(problem, evaluations).plan.kept
print(json.dumps(found))
"""


@pytest.fixture
def saved(run: Run, tmp_path: Path) -> Path:
    save_agent(run.training.agent, tmp_path / "agent")
    return tmp_path / "agent"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((folder / "agent.json").read_text())
    change(document)
    (folder / "agent.json").write_text(json.dumps(document))


def test_a_saved_agent_proposes_the_same_plans_in_a_new_process(
    saved: Path,
    run: Run,
    problem_of: GetProblem,
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_python(PROPOSE, saved)
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    for name in ("plain_cnn", "autoencoder"):
        for evaluations in (0, 4):
            proposal = run.training.agent.propose(problem_of(name, "macs=0.4"), evaluations)
            here = {group: list(kept) for group, kept in proposal.plan.kept.items()}
            assert there[f"{name}-{evaluations}"] == here


def test_weights_and_settings_come_back_as_they_were(saved: Path, run: Run) -> None:
    again, agent = load_agent(saved), run.training.agent
    assert (again.settings, again.reward) == (agent.settings, agent.reward)
    assert (again.kept, again.trained_on) == (agent.kept, agent.trained_on)
    assert again.state().keys() == agent.state().keys()
    assert all(torch.equal(again.state()[name], t) for name, t in agent.state().items())
    assert not again.policy.training


def test_an_agent_folder_holds_no_pickle(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == [
        "README.md",
        "agent.json",
        "policy.safetensors",
    ]
    json.loads((saved / "agent.json").read_text())
    assert load_file(saved / "policy.safetensors")
    assert "macs=0.4" in (saved / "README.md").read_text()


def test_the_run_folder_of_a_training_is_accepted_too(saved: Path) -> None:
    assert load_agent(saved.parent).trained_on == load_agent(saved).trained_on


def test_a_failure_while_saving_leaves_nothing_behind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(bundle, "_card", fail)
    with pytest.raises(OSError, match="disk full"):
        save_agent(run.training.agent, tmp_path / "agent")
    assert list(tmp_path.iterdir()) == []


def refused(folder: Path, message: str) -> None:
    with pytest.raises(AgentError, match=message) as caught:
        load_agent(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["agent.json", "policy.safetensors"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    refused(saved, f"{name} is missing; give the agent folder")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere/agent.json is missing")


def test_altered_weights_are_noticed(saved: Path) -> None:
    weights = load_file(saved / "policy.safetensors")
    weights["log_std"] += 1e-3
    save_file(weights, saved / "policy.safetensors")
    refused(saved, "was altered after it was saved")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00"])
def test_a_damaged_description_is_refused(saved: Path, content: bytes) -> None:
    (saved / "agent.json").write_bytes(content)
    refused(saved, "is damaged")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(surprise=1), "of another version.*surprise: Extra inputs"),
        (lambda d: d.update(version=2), "of another version.*version: Input should be 1"),
        (lambda d: d["settings"].update(hidden=-1), "settings.hidden: Input should be"),
        (lambda d: d["settings"].update(hidden=8), "does not fit agent.json"),
        (lambda d: d["observation"].pop(), f"schema .*{OBSERVATION[-1].name}"),
        (lambda d: d["observation"].append("colour"), "schema .*colour"),
        (lambda d: d["observation"].reverse(), "the order of its entries"),
        (lambda d: d.update(residual_scale=2.0), "residual scale 2.0"),
        (lambda d: d.update(block_threshold=-0.1), "block threshold -0.1"),
    ],
)
def test_an_agent_that_does_not_fit_this_version_is_refused(
    saved: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(saved, change)
    refused(saved, message)


def test_a_loaded_agent_can_be_trained_on(saved: Path, plain: Problem) -> None:
    from rlprune.agents import train_agent

    loaded = load_agent(saved)
    more = train_agent([plain], 8, rewards=loaded.reward, settings=loaded.settings, start=loaded)
    before = loaded.state()
    assert any(not torch.equal(t, before[name]) for name, t in more.agent.state().items())
