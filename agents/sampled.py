"""Searches that draw from a distribution which they learn: CMA-ES and NSGA-II.

CMA-ES (Hansen, arXiv 1604.00772) is that of the package cmaes, which is also what Optuna's sampler
runs; asked directly, it starts at the centre with a spread of ours and learns from whole
generations. NSGA-II (Deb et al., 2002) is Optuna's sampler.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from rlprune.agents.base import Proposal
from rlprune.agents.space import Space, Vector
from rlprune.agents.trials import Trials
from rlprune.cost.budget import Budget
from rlprune.errors import RLPruneError
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

SPREAD = 0.15
"""Standard deviation of the first draws around the centre."""

_MOST_SPREAD = 1.0  # of CMA-ES started afresh; e times as wide is nearly all there is
_BOUND = 0.4  # of NSGA-II, whose mutations draw from the whole range; a block goes below -0.3
_CHEAPEST = 0.5  # share of the budget down to which NSGA-II looks for cheaper networks


class CMAESAgent:
    """Moves and stretches a normal distribution of allocations towards the best draws.

    Where widths are few, a generation soon draws nothing new; it starts afresh with twice as many
    draws, as IPOP does (Auger and Hansen, 2005), and from a wider distribution.

    Args:
        seed: of the draws.
        around_heuristic: start from the heuristic's allocation instead of uniform.
    """

    name = "cmaes"

    def __init__(self, seed: int = 0, around_heuristic: bool = True) -> None:
        self._seed = seed
        self._around_heuristic = around_heuristic

    def propose(self, problem: Problem, evaluations: int = 200) -> Proposal:
        """Draw until so many distinct plans are evaluated; the first one is the centre.

        With 0 evaluations the centre itself is returned, unmeasured.

        Raises:
            RLPruneError: if cmaes is not installed.
        """
        cmaes = _require("cmaes", self.name)
        space = Space(problem, self._around_heuristic)
        centre = np.zeros(space.size)
        if evaluations == 0:
            return Proposal(space.plan(centre), self.name)
        # The diagonal of a covariance is all that can be learned from so few evaluations.
        dimensions = max(2, space.size)  # the package takes no fewer; the second one means nothing
        seeds, start = itertools.count(self._seed), np.zeros(dimensions)
        spread, search = SPREAD, cmaes.SepCMA(start, SPREAD, seed=next(seeds))
        with Trials(problem, evaluations, self.name) as trials:
            trials.score([space.plan(centre)])
            while trials.open:
                left, drawn = trials.left, [search.ask() for _ in range(search.population_size)]
                scores = trials.score([space.plan(x[: space.size]) for x in drawn])
                search.tell(list(zip(drawn, scores, strict=True)))
                if trials.left == left:  # it has collapsed onto what is known
                    more = min(2 * search.population_size, max(search.population_size, evaluations))
                    spread = min(2 * spread, _MOST_SPREAD)
                    search = cmaes.SepCMA(start, spread, seed=next(seeds), population_size=more)
        return trials.proposal()


class NSGA2Agent:
    """Breeds plans that are good at their cost; cheaper ones than the budget asks for too.

    Args:
        seed: of the draws.
        around_heuristic: start from the heuristic's allocation instead of uniform.
        population: plans of one generation.
    """

    name = "nsga2"

    def __init__(self, seed: int = 0, around_heuristic: bool = True, population: int = 20) -> None:
        self._seed = seed
        self._around_heuristic = around_heuristic
        self._population = population

    def propose(self, problem: Problem, evaluations: int = 200) -> Proposal:
        """Minimise search score and budgeted cost; the best score within the budget is the plan.

        `Proposal.front` is the Pareto front. With 0 evaluations the centre is returned, unmeasured.

        Raises:
            RLPruneError: if Optuna is not installed.
        """
        optuna = _require("optuna", self.name)
        space = Space(problem, self._around_heuristic)
        if evaluations == 0:
            return Proposal(space.plan(np.zeros(space.size)), self.name)
        names = [f"x{i}" for i in range(space.size + 1)]
        bounds = optuna.distributions.FloatDistribution(-_BOUND, _BOUND)
        tried: dict[int, Plan] = {}
        with _quiet(optuna), Trials(problem, evaluations, self.name) as trials:
            sampler = optuna.samplers.NSGAIISampler(
                population_size=self._population, seed=self._seed
            )
            study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
            for x in self._first(space):
                study.enqueue_trial(dict(zip(names, x.tolist(), strict=True)))
            while trials.open:
                asked = [study.ask(dict.fromkeys(names, bounds)) for _ in range(self._population)]
                drawn = [np.array([one.params[name] for name in names]) for one in asked]
                plans = [_cheaper(problem, space, x) for x in drawn]
                for one, plan, score in zip(asked, plans, trials.score(plans), strict=True):
                    if np.isfinite(score):
                        tried[one.number] = plan
                        study.tell(one, [score, _usage(problem, plan)])
                    else:
                        study.tell(one, state=optuna.trial.TrialState.FAIL)
        front = {plan.key: plan for plan in (tried[one.number] for one in study.best_trials)}
        return trials.proposal(sorted(front.values(), key=lambda plan: _usage(problem, plan)))

    def _first(self, space: Space) -> list[Vector]:
        """Draw the first generation around the centre, half of it at costs below the budget."""
        rng, centre = np.random.default_rng(self._seed), np.zeros(space.size)
        costs = np.linspace(_BOUND, -_BOUND, self._population)
        drawn = [centre, *(space.near(centre, rng, SPREAD, 1.0) for _ in costs[1:])]
        return [np.append(x.clip(-_BOUND, _BOUND), y) for x, y in zip(drawn, costs, strict=True)]


def _cheaper(problem: Problem, space: Space, x: Vector) -> Plan:
    """Decode a vector whose last coordinate, where negative, leaves some of the budget unused."""
    share = 1.0 - (1.0 - _CHEAPEST) * max(0.0, -float(x[-1])) / _BOUND
    limits = tuple(
        (quantity, min(kept, max(share * kept, problem.costs.reachable(quantity))))
        for quantity, kept in problem.budget.limits
    )
    widths = Budget(limits).decode(problem.costs, space.allocation(x[:-1]))
    return Plan.from_widths(problem.graph, widths)


def _usage(problem: Problem, plan: Plan) -> float:
    return float(problem.budget.usage(problem.costs, plan.widths))


@contextmanager
def _quiet(optuna: ModuleType) -> Iterator[None]:
    """Let Optuna report nothing but errors."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _require(package: str, method: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise RLPruneError(
            f'the method {method} needs {package}; type: pip install "rlprune[search]"'
        ) from error
