"""Regularised evolution: who is born, who dies, and whether it is worth it."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from rlprune.agents import RandomSearchAgent, evolution
from rlprune.agents.evolution import EvolutionAgent, EvolutionSettings, evolve
from rlprune.agents.space import Space
from rlprune.agents.trials import Trials
from rlprune.problem import Problem
from tests.conftest import GetProblem


def test_the_first_individual_is_the_heuristic(fresh_plain: Problem) -> None:
    proposal = EvolutionAgent(seed=1).propose(fresh_plain, 1)
    assert proposal.plan == fresh_plain.reference.plan


def test_children_inherit_every_coordinate_from_a_parent(plain: Problem) -> None:
    settings = EvolutionSettings(tournament=1, crossover=1.0, together=0.0, leap=0.0)
    space, rng = Space(plain, False), np.random.default_rng(0)
    zeros, ones = np.zeros(space.size), np.ones(space.size)
    alive = deque([(0.5, zeros), (0.5, ones)])
    born = np.array([evolution.child(space, alive, rng, settings) for _ in range(64)])
    assert set(np.unique(born)) == {0.0, 1.0}
    assert (born.min(1) < born.max(1)).any()  # of both


def test_the_best_of_a_tournament_is_the_parent(plain: Problem) -> None:
    settings = EvolutionSettings(tournament=3, crossover=0.0, together=0.0, leap=0.0)
    space, rng = Space(plain, False), np.random.default_rng(0)
    alive = deque((float(i), np.full(space.size, i)) for i in range(3))
    assert all((evolution.child(space, alive, rng, settings) == 0).all() for _ in range(20))


def test_the_oldest_dies_even_if_it_is_the_best(
    plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EvolutionSettings(population=6, tournament=6, children=2)
    parents: list[list[float]] = []
    parent = evolution._parent

    def watched(
        alive: deque[tuple[float, np.ndarray]],
        rng: np.random.Generator,
        settings: EvolutionSettings,
    ) -> np.ndarray:
        parents.append([score for score, _ in alive])
        return parent(alive, rng, settings)

    count = iter(range(1000))
    monkeypatch.setattr(evolution, "_parent", watched)
    monkeypatch.setattr(Trials, "score", lambda self, plans: [float(next(count)) for _ in plans])
    monkeypatch.setattr(Trials, "open", property(lambda _: len(parents) < 40))
    first = [np.zeros(len(plain.graph.groups))] * 6
    with Trials(plain, 100, "evolution") as trials:
        evolve(Space(plain, False), trials, first, np.random.default_rng(0), settings)
    assert parents[0] == [0, 1, 2, 3, 4, 5]
    assert min(parents[-1]) > 5  # worse than all of the first generation, and yet alive
    assert all(len(alive) == 6 for alive in parents)


def test_moves_become_longer_where_they_lead_to_nothing_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coarse = Problem.build("mlp", budget="macs=0.3", round_to=16)
    settings = EvolutionSettings(population=4, tournament=2, spread=0.04, leap=0.1)

    def found() -> int:
        space = Space(coarse, False)
        with Trials(coarse, 20, "evolution") as trials:
            evolve(space, trials, [np.zeros(space.size)] * 4, np.random.default_rng(0), settings)
        return len(trials.history)

    many = found()
    monkeypatch.setattr(evolution, "MOST_WIDER", 1)
    assert many >= 2 * found()


def test_the_seed_decides(plain: Problem) -> None:
    same = [EvolutionAgent(seed=4).propose(plain, 40) for _ in range(2)]
    assert same[0] == same[1]
    assert EvolutionAgent(seed=5).propose(plain, 40).history != same[0].history


def test_blocks_are_removed_where_that_helps(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.3")
    proposal = EvolutionAgent(seed=0).propose(problem, 60)
    assert proposal.history[-1] < problem.reference.measurement.score


@pytest.mark.slow
@pytest.mark.parametrize(("name", "budget"), [("plain_cnn", "macs=0.3"), ("resnet20", "macs=0.3")])
def test_evolution_is_no_worse_than_random_search_at_equal_evaluations(
    name: str, budget: str, problem_of: GetProblem
) -> None:
    problem = problem_of(name, budget)
    around, uniform = 0, 0
    for seed in range(5):
        evolved = EvolutionAgent(seed).propose(problem, 200).history[-1]
        rival = RandomSearchAgent(seed, spread=0.15, around_heuristic=True)
        around += evolved <= rival.propose(problem, 200).history[-1]
        uniform += evolved <= RandomSearchAgent(seed).propose(problem, 200).history[-1]
    assert around >= 4
    assert uniform >= 4
