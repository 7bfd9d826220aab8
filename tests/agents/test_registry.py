"""Strategies by name, and what a wrong name is told."""

from __future__ import annotations

import pytest

from rlprune.agents import STRATEGIES, agent_named, strategy_named
from rlprune.allocate.global_threshold import global_threshold
from rlprune.criteria.registry import CRITERIA
from rlprune.errors import UnknownNameError
from rlprune.problem import Problem


@pytest.mark.parametrize("name", STRATEGIES)
def test_agents_have_the_names_that_they_are_asked_for_by(name: str) -> None:
    assert agent_named(name).name == name
    assert agent_named(name, seed=3) is not agent_named(name, seed=3)


@pytest.mark.parametrize("family", ["local", "global"])
def test_every_criterion_has_a_local_and_a_global_strategy(family: str) -> None:
    for criterion in CRITERIA:
        name = f"{family}-{criterion}"
        assert agent_named(name).name == name
        assert not strategy_named(name).searches


@pytest.mark.parametrize("criterion", ["l2", "taylor-second-order"])
@pytest.mark.parametrize("normaliser", ["mean", "lamp"])
def test_a_normaliser_may_follow_the_criterion_of_a_global_threshold(
    criterion: str, normaliser: str, plain: Problem
) -> None:
    agent = agent_named(f"global-{criterion}-{normaliser}")
    assert agent.propose(plain).plan == global_threshold(plain, criterion, normaliser)


def test_the_criterion_lamp_is_not_taken_for_the_normaliser(plain: Problem) -> None:
    assert agent_named("global-lamp").propose(plain).plan == global_threshold(plain, "lamp")


def test_strategies_say_whether_they_search() -> None:
    assert not strategy_named("uniform").searches
    assert not strategy_named("knapsack").searches
    assert strategy_named("random").searches


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unifrom", "unknown strategy 'unifrom'; did you mean 'uniform'"),
        ("globl-l2", "unknown strategy 'globl-l2'; did you mean 'global-l2'"),
        ("local", "unknown strategy 'local'"),
        ("global-", "unknown strategy 'global-'"),
        ("", "unknown strategy ''"),
        ("Uniform", "did you mean 'uniform'"),
        ("local-tailor", "unknown criterion 'tailor'; did you mean 'taylor'"),
        ("local-l2-mean", "unknown criterion 'l2-mean'"),
        ("global-tailor", "unknown criterion 'tailor'; did you mean 'taylor'"),
        ("global-l3-mean", "unknown criterion 'l3'"),
        ("global-l2-man", "unknown normaliser 'man'; did you mean 'mean'"),
        ("global-mean", "unknown criterion 'mean'"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_the_closest(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        agent_named(name)
    assert message in str(caught.value)
