"""The agent that ships: it loads, covers what a user asks for, and is taken where none is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rlprune.agents.chosen import DEFAULT, agent_for, trained_folder
from rlprune.agents.ppo import PPOAgent
from rlprune.cli import main
from rlprune.envs import Walk
from rlprune.problem import Problem
from tests.conftest import GetProblem


@pytest.fixture(scope="module")
def shipped() -> PPOAgent:
    agent = agent_for(DEFAULT)
    assert isinstance(agent, PPOAgent)
    return agent


def test_it_is_small_and_says_what_it_was_trained_on() -> None:
    folder = trained_folder(DEFAULT)
    assert folder is not None
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2**20
    card = (folder / "README.md").read_text()
    for word in ("families", "Held out", "Limits"):
        assert word in card


@pytest.mark.parametrize("quantity", ["macs", "params", "latency"])
def test_it_covers_gentle_and_brutal_budgets(shipped: PPOAgent, quantity: str) -> None:
    least, largest = shipped.kept[quantity]
    assert least < (0.25 if quantity == "latency" else 0.08)
    assert largest > 0.8


@pytest.mark.parametrize("name", ["plain_cnn", "resnet20", "mobilenetv2", "densenet"])
def test_its_answers_meet_the_budget_and_beat_uniform(
    name: str, shipped: PPOAgent, problem_of: GetProblem
) -> None:
    problem = problem_of(name, "macs=0.2")
    plan = shipped.propose(problem).plan
    assert problem.budget.usage(problem.costs, plan.widths) <= 1
    uniform = problem.decode(np.ones(len(problem.graph.groups)))
    assert problem.evaluate(plan).score < problem.evaluate(uniform).score


def test_apply_takes_it_where_none_is_named(tmp_path: Path) -> None:
    words = ("apply", "--model", "mlp", "--budget", "macs=0.5", "--threads", "1")
    main([*words, "--out", str(tmp_path / "run")])
    search = json.loads((tmp_path / "run" / "result.json").read_text())["search"]
    assert (search["method"], search["agent"]) == ("ppo", DEFAULT)
    assert not search["fallback"]


def test_it_is_not_the_heuristic(shipped: PPOAgent, plain: Problem) -> None:
    actions = shipped.actions(Walk(plain))
    assert abs(actions - actions.mean()).max() > 0.01
