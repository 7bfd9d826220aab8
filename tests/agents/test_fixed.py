"""What the fixed agents propose: what their rules say, unmeasured."""

from __future__ import annotations

import numpy as np

from rlprune.agents import FixedAgent, agent_named
from rlprune.allocate.heuristic import sensitivity
from rlprune.problem import Problem
from tests.conftest import GetProblem


def test_an_agent_proposes_its_rules_plan_whatever_it_may_evaluate(plain: Problem) -> None:
    wanted = plain.decode(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    agent = FixedAgent("growing", lambda _: wanted)
    for allowed in (0, 5):
        proposal = agent.propose(plain, allowed)
        assert (proposal.plan, proposal.method, proposal.history) == (wanted, "growing", ())


def test_the_fixed_agents_propose_what_they_are_called(plain: Problem) -> None:
    assert agent_named("heuristic").propose(plain).plan == plain.reference.plan
    assert agent_named("sensitivity").propose(plain).plan == sensitivity(plain).plan
    uniform = agent_named("uniform").propose(plain).plan
    fractions = uniform.widths / plain.graph.widths
    assert fractions.max() - fractions.min() < 0.2


def test_all_but_knapsacks_keep_all_blocks(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.2")
    names = ["uniform", "sensitivity", "norm-proportional", "fewest-params", "local-l1"]
    for name in [*names, "global-l2", "global-l2-lamp"]:
        plan = agent_named(name).propose(problem).plan
        assert problem.graph.bypassed(plan.kept) == []
