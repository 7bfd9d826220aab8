"""A trained agent is asked what it was made for; for anything else there is the heuristic."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rlprune.agents.bundle import save_agent
from rlprune.agents.evolution import EvolutionAgent
from rlprune.agents.fallback import FallbackAgent, agent_or_heuristic
from rlprune.agents.ppo import PPOAgent
from rlprune.agents.random_search import RandomSearchAgent
from rlprune.cli import main
from rlprune.cost.budget import Budget
from rlprune.errors import AgentError, UncoveredError
from rlprune.problem import Problem
from rlprune.report.result import read_result
from tests.agents.conftest import Run


@pytest.fixture
def agent(run: Run) -> PPOAgent:
    """An agent that knows budgets of MACs around that of `plain`."""
    return replace(run.training.agent, kept={"macs": (0.3, 0.5)}, seed=1)


@pytest.mark.parametrize("budget", ["macs=0.3", "macs=0.4", "macs=0.5"])
@pytest.mark.parametrize("evaluations", [0, 6])
def test_what_an_agent_covers_is_its_own_business(
    budget: str, evaluations: int, agent: PPOAgent, plain: Problem
) -> None:
    problem = plain.with_budget(Budget.parse(budget))
    expected = agent.propose(problem, evaluations)
    assert FallbackAgent(agent).propose(problem, evaluations) == expected


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ("macs=0.29", "trained at macs from 0.3 to 0.5, and macs=0.29 is asked for"),
        ("macs=0.51", "and macs=0.51 is"),
        ("params=0.4", "and params=0.4 is"),
        ("macs=0.4,params=0.5", "and params=0.5 is"),
    ],
)
def test_a_budget_beyond_the_training_is_refused_or_falls_back(
    budget: str, reason: str, agent: PPOAgent, plain: Problem
) -> None:
    problem = plain.with_budget(Budget.parse(budget))
    with pytest.raises(UncoveredError, match=reason):
        agent.propose(problem)
    proposal = FallbackAgent(agent).propose(problem)
    assert proposal.plan == problem.reference.plan
    assert reason in str(proposal.fallback)


def test_evaluations_are_not_lost_on_a_fallback(agent: PPOAgent, plain: Problem) -> None:
    problem = plain.with_budget(Budget.parse("macs=0.2"))
    proposal = FallbackAgent(agent, seed=3).propose(problem, 30)
    assert proposal.plan == EvolutionAgent(seed=3).propose(problem, 30).plan
    assert len(proposal.history) == 30
    assert problem.evaluate(proposal.plan).score <= problem.reference.measurement.score


def test_an_agent_of_another_schema_falls_back(run: Run, plain: Problem, tmp_path: Path) -> None:
    save_agent(run.training.agent, tmp_path / "agent")
    file = tmp_path / "agent" / "agent.json"
    document = json.loads(file.read_text())
    document["observation"][0] = "layer_index"
    file.write_text(json.dumps(document))
    proposal = agent_or_heuristic(str(tmp_path / "agent")).propose(plain)
    assert proposal.plan == plain.reference.plan
    assert "another observation schema (differs in: " in str(proposal.fallback)
    assert "layer_index" in str(proposal.fallback)


def test_an_agent_of_another_schema_cannot_adapt_either(run: Run, tmp_path: Path) -> None:
    save_agent(run.training.agent, tmp_path / "agent")
    file = tmp_path / "agent" / "agent.json"
    document = json.loads(file.read_text())
    document["observation"][0] = "layer_index"
    file.write_text(json.dumps(document))
    words = ("apply", str(tmp_path / "agent"), "--model", "mlp", "--adapt", "8", "--threads", "1")
    main([*words, "--out", str(tmp_path / "out")])
    assert "layer_index" in str(read_result(tmp_path / "out").search.fallback_reason)


def test_a_damaged_agent_is_an_error_and_a_strategy_itself(run: Run, tmp_path: Path) -> None:
    save_agent(run.training.agent, tmp_path / "agent")
    (tmp_path / "agent" / "policy.safetensors").write_bytes(b"")
    with pytest.raises(AgentError, match="altered"):
        agent_or_heuristic(str(tmp_path / "agent"))
    assert isinstance(agent_or_heuristic("random"), RandomSearchAgent)
