"""Strategies by name: everyone who chooses allocations without being trained beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rlprune.agents.base import Agent
from rlprune.agents.ddpg import DDPGAgent
from rlprune.agents.evolution import EvolutionAgent
from rlprune.agents.fixed import FixedAgent, Rule
from rlprune.agents.gradient import GradientAgent
from rlprune.agents.grid import GridAgent
from rlprune.agents.guided import GuidedAgent
from rlprune.agents.ppo_search import PPOSearchAgent
from rlprune.agents.random_search import RandomSearchAgent
from rlprune.agents.sampled import CMAESAgent, NSGA2Agent
from rlprune.allocate.capacity import fewest_params
from rlprune.allocate.global_threshold import global_threshold
from rlprune.allocate.heuristic import sensitivity
from rlprune.allocate.knapsack import knapsack
from rlprune.allocate.norm_proportional import norm_proportional
from rlprune.allocate.uniform import local, uniform
from rlprune.criteria.normalise import NORMALISERS
from rlprune.criteria.registry import CRITERIA, criterion_named
from rlprune.errors import UnknownNameError


@dataclass(frozen=True)
class Strategy:
    """How to get an agent.

    Attributes:
        make: from the seed of its draws.
        searches: whether it uses evaluations; the others make profile evaluations at most.
    """

    make: Callable[[int], Agent]
    searches: bool = True


def _fixed(name: str, rule: Rule) -> Strategy:
    return Strategy(lambda _: FixedAgent(name, rule), searches=False)


STRATEGIES: dict[str, Strategy] = {
    "uniform": _fixed("uniform", uniform),
    "norm-proportional": _fixed("norm-proportional", norm_proportional),
    "sensitivity": _fixed("sensitivity", lambda problem: sensitivity(problem).plan),
    "knapsack": _fixed("knapsack", knapsack),
    "fewest-params": Strategy(
        lambda seed: FixedAgent("fewest-params", partial(fewest_params, seed=seed)), searches=False
    ),
    "heuristic": _fixed("heuristic", lambda problem: problem.reference.plan),
    "random": Strategy(RandomSearchAgent),
    "grid": Strategy(lambda _: GridAgent()),
    "grid-unscreened": Strategy(lambda _: GridAgent(screened=False)),
    "gradient": Strategy(lambda _: GradientAgent()),
    "evolution": Strategy(EvolutionAgent),
    "guided": Strategy(GuidedAgent),
    "cmaes": Strategy(CMAESAgent),
    "nsga2": Strategy(NSGA2Agent),
    "ddpg": Strategy(DDPGAgent),
    "ppo": Strategy(PPOSearchAgent),
}
"""Strategies that are one name each; `local-...` and `global-...` are one for each criterion."""


def strategy_named(name: str) -> Strategy:
    """Return a strategy.

    Args:
        name: one of `STRATEGIES`, `local-CRITERION` (uniform widths, channels ranked by the
            criterion), `global-CRITERION` or `global-CRITERION-NORMALISER` (one threshold).

    Raises:
        UnknownNameError: for anything else, with the closest.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    family, _, rest = name.partition("-")
    if family == "local" and rest:
        criterion_named(rest)
        return _fixed(name, partial(local, criterion=rest))
    if family == "global" and rest:
        criterion, normaliser = _split(rest)
        criterion_named(criterion)
        return _fixed(name, partial(global_threshold, criterion=criterion, normaliser=normaliser))
    families = [f"{one}-{criterion}" for criterion in CRITERIA for one in ("local", "global")]
    raise UnknownNameError("strategy", name, [*STRATEGIES, *families])


def agent_named(name: str, seed: int = 0) -> Agent:
    """Return the agent of a strategy; see `strategy_named`.

    Args:
        name: of the strategy.
        seed: of whatever it draws.
    """
    return strategy_named(name).make(seed)


def _split(rest: str) -> tuple[str, str]:
    """Split `CRITERION-NORMALISER`; the criterion's own name may have dashes."""
    criterion, _, normaliser = rest.rpartition("-")
    if rest in CRITERIA or not criterion:
        return rest, "none"
    if normaliser in NORMALISERS:
        return criterion, normaliser
    if criterion in CRITERIA:
        raise UnknownNameError("normaliser", normaliser, NORMALISERS)
    return rest, "none"
