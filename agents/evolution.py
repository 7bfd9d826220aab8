"""Regularised evolution of allocations (Real et al., AAAI 2019, arXiv 1802.01548)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from rlprune.agents.base import Proposal
from rlprune.agents.space import Space, Vector
from rlprune.agents.trials import Trials
from rlprune.problem import Problem

Population: TypeAlias = Sequence[tuple[float, Vector]]
"""Search scores, losses, with the vectors that have them."""

MOST_WIDER = 8
"""How many times as long moves become where few widths are possible, as near the least budget."""


@dataclass(frozen=True)
class EvolutionSettings:
    """How a population evolves.

    Attributes:
        population: individuals alive at a time.
        tournament: individuals of which the best becomes a parent.
        children: born before any of them is scored; workers share them.
        crossover: share of children with two parents, each coordinate being from either.
        together: share of mutations that move all coordinates, the others moving one.
        spread: standard deviation of the first population and of a move of all coordinates.
        blocks: how many blocks a move of all coordinates removes or puts back, on average.
        leap: standard deviation of a move of one coordinate.
    """

    population: int = 24
    tournament: int = 8
    children: int = 4
    crossover: float = 0.6
    together: float = 0.3
    spread: float = 0.15
    blocks: float = 0.5
    leap: float = 0.4

    def wider(self, factor: float) -> EvolutionSettings:
        """Return the same with moves that are so many times as long."""
        return replace(self, spread=factor * self.spread, leap=factor * self.leap)


class EvolutionAgent:
    """Small mutations of good allocations; the oldest die, however good they are.

    Every individual is decoded to the budget, so that none has to be repaired or thrown away.

    Args:
        seed: of the draws.
        around_heuristic: start around the heuristic's allocation, as the learned agent does,
            instead of uniform.
        settings: of the population.
    """

    name = "evolution"

    def __init__(
        self,
        seed: int = 0,
        around_heuristic: bool = True,
        settings: EvolutionSettings | None = None,
    ) -> None:
        self._seed = seed
        self._around_heuristic = around_heuristic
        self._settings = settings or EvolutionSettings()

    def propose(self, problem: Problem, evaluations: int = 200) -> Proposal:
        """Evolve until so many distinct plans are evaluated; the first one is the centre.

        With 0 evaluations the centre itself is returned, unmeasured.
        """
        space = Space(problem, self._around_heuristic)
        if evaluations == 0:
            return Proposal(space.plan(np.zeros(space.size)), self.name)
        rng, centre = np.random.default_rng(self._seed), np.zeros(space.size)
        others = range(self._settings.population - 1)
        first = [centre, *(space.near(centre, rng, self._settings.spread, 1.0) for _ in others)]
        with Trials(problem, evaluations, self.name) as trials:
            evolve(space, trials, first, rng, self._settings)
        return trials.proposal()


def evolve(
    space: Space,
    trials: Trials,
    first: Sequence[Vector],
    rng: np.random.Generator,
    settings: EvolutionSettings,
) -> None:
    """Breed until the trials are spent, with longer moves while they lead to nothing new.

    Args:
        space: where the vectors lie.
        trials: score them.
        first: the population to start from; as many are alive from then on.
        rng: draws.
        settings: of the mutations.
    """
    scores = trials.score([space.plan(x) for x in first])
    alive = deque(zip(scores, first, strict=True), maxlen=len(first))
    while trials.open:
        moves = settings.wider(min(1 + trials.stalls, MOST_WIDER))
        born = [child(space, alive, rng, moves) for _ in range(settings.children)]
        scores = trials.score([space.plan(x) for x in born])
        alive.extend(zip(scores, born, strict=True))


def child(
    space: Space, alive: Population, rng: np.random.Generator, settings: EvolutionSettings
) -> Vector:
    """Cross and mutate the winners of tournaments."""
    born = _parent(alive, rng, settings)
    if rng.random() < settings.crossover:
        other = _parent(alive, rng, settings)
        born = np.where(rng.random(len(born)) < 0.5, born, other)
    if rng.random() < settings.together:
        return space.near(born, rng, settings.spread, settings.blocks)
    return space.near_in_one(born, rng, settings.leap)


def _parent(alive: Population, rng: np.random.Generator, settings: EvolutionSettings) -> Vector:
    size = min(settings.tournament, len(alive))
    drawn = rng.choice(len(alive), size, replace=False)
    return min((alive[int(i)] for i in drawn), key=lambda one: one[0])[1]
