"""Adaptation continues a policy on one problem, pays for it, and leaves the policy as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from rlprune.agents.adapting import AdaptingAgent
from rlprune.agents.base import WORSE, Proposal
from rlprune.agents.fallback import FallbackAgent
from rlprune.agents.policy import new_policy
from rlprune.agents.ppo import PPOAgent
from rlprune.agents.registry import agent_named
from rlprune.agents.space import Vector
from rlprune.config import PPOSettings, RewardSettings
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

NO_LATENCY = RewardSettings(latency=0.0)


@pytest.fixture
def agent() -> PPOAgent:
    torch.manual_seed(0)
    settings = PPOSettings(episodes_per_update=64)
    return PPOAgent(new_policy(settings), settings, NO_LATENCY, kept={"macs": (0.1, 1.0)})


def test_it_starts_as_the_heuristic_and_every_episode_is_charged(
    agent: PPOAgent, fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    guided = agent_named("guided").propose(fresh_plain).plan
    assert agent.propose(fresh_plain).plan == guided
    before = agent.state()
    used = fresh_plain.uses()
    answers: list[Vector] = []
    actions = PPOAgent.actions

    def watched(self: PPOAgent, *args: Any) -> Vector:
        answers.append(actions(self, *args))
        return answers[-1]

    monkeypatch.setattr(PPOAgent, "actions", watched)
    AdaptingAgent(agent, 20).propose(fresh_plain)
    spent = fresh_plain.ledger.since(used)
    # Three updates of eight; the policy without exploration before and after them.
    assert 20 <= spent.evaluations <= 26  # some plans repeat
    assert not answers[0].any()
    assert answers[-1].any()
    assert all(torch.equal(value, before[name]) for name, value in agent.state().items())


def test_siblings_of_the_first_training_do_not_matter(
    agent: PPOAgent, fresh_plain: Problem
) -> None:
    settings = PPOSettings(siblings=16, episodes_per_update=64)
    proposal = AdaptingAgent(replace(agent, settings=settings), 8).propose(fresh_plain)
    assert fresh_plain.budget.usage(fresh_plain.costs, proposal.plan.widths) <= 1


def test_the_heuristic_stays_where_adaptation_finds_nothing_better(
    agent: PPOAgent, fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = Proposal(Plan.uniform(fresh_plain.graph, 0.1), "ppo")
    monkeypatch.setattr(AdaptingAgent, "propose", lambda *_: worse)
    proposal = FallbackAgent(AdaptingAgent(agent, 8)).propose(fresh_plain)
    assert proposal.plan == agent.ranked(fresh_plain).reference.plan
    assert proposal.fallback == WORSE
    assert proposal.runners_up == (worse.plan,)


def test_an_interrupted_adaptation_still_proposes(
    agent: PPOAgent, fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.ranked(fresh_plain).local_changes  # noqa: B018
    evaluate, calls = type(fresh_plain.evaluator).evaluate_many, []

    def interrupted(self: object, plans: list[object], **options: object) -> object:
        calls.append(len(plans))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(self, plans, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(fresh_plain.evaluator), "evaluate_many", interrupted)
    proposal = AdaptingAgent(agent, 80).propose(fresh_plain, 50)
    assert proposal.interrupted
    assert fresh_plain.budget.usage(fresh_plain.costs, proposal.plan.widths) <= 1
