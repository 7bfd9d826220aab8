"""Guided search: children are bred as in evolution, and those that promise most are measured.

What single groups lose adds up to a first guess of a plan's score. How far that is to be believed,
and what it leaves, is learned from the widths of all that was measured at the budget, the profile
of the heuristic's plan included: a line, and a Gaussian process around it. Children are chosen by
their expected improvement (Jones, Schonlau and Welch, Journal of Global Optimization 13, 1998).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, WhiteKernel
from sklearn.linear_model import LinearRegression

from rlprune.agents.base import Proposal
from rlprune.agents.evolution import MOST_WIDER, EvolutionSettings, child
from rlprune.agents.space import Space, Vector
from rlprune.agents.trials import MOST_KEPT, Trials
from rlprune.allocate.local import neighbours
from rlprune.config import PPOSettings
from rlprune.cost.analytic import Widths
from rlprune.cost.budget import Allocation
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

RANKING = PPOSettings().ranking
"""Of channels, without a policy."""

MOST_PROFILED = 32
"""Plans around a first answer that are measured as its profile; fewer where groups are few."""

_BREEDING = EvolutionSettings(population=5, tournament=1)  # fewer parents: few plans are measured
# Where widths are few, all children may be known: others are bred with longer moves.
_WIDER = tuple(_BREEDING.wider(factor) for factor in (1, 2, 4, MOST_WIDER))
_BORN = 160  # children among which the next ones are chosen
_OUTLIER = 1.0  # log score above that of all but a tenth: how bad a bad plan is tells nothing
_BROKEN = 20.0  # log score of a network that computes no numbers
_REFIT = 1.1  # the kernel is fitted again when there are so many times as many points
_LEAST_VARIANCE = 1e-8
_KERNEL: Kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(1.0, (0.05, 20.0)) + WhiteKernel(
    0.1, (1e-3, 2.0)
)


class GuidedAgent:
    """Searches around the heuristic's plan; what a trained policy is compared with.

    Args:
        seed: of the draws.
    """

    name = "guided"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def propose(self, problem: Problem, evaluations: int = 0) -> Proposal:
        """Profile what is around the heuristic's plan, then measure as many plans more."""
        ranked, answer = problem.ranked_by(RANKING), np.zeros(len(problem.graph.groups))
        return search(ranked, answer, evaluations, self._seed, self.name)


def search(problem: Problem, answer: Vector, evaluations: int, seed: int, method: str) -> Proposal:
    """Profile an answer and what promises more, then measure as many plans more.

    The heuristic's plan is proposed only where it is the answer.

    Args:
        problem: the network and the budget.
        answer: measured first.
        evaluations: beside the profile, which takes two for each group and at most
            `MOST_PROFILED`; the first one is for the best plan measured by then.
        seed: of the draws.
        method: name of the agent.
    """
    guide = Guide(problem, seed)
    own = guide.candidate(answer)
    left = min(2 * len(problem.graph.groups), MOST_PROFILED)
    asked = guide.ask(left) if guide.knows(own) else [own]
    while asked:
        guide.tell(asked, [one.score for one in problem.profile(guide.plans(asked))])
        left -= len(asked)
        asked = guide.ask(left)
    best, *others = guide.best(own)
    if evaluations == 0:
        return Proposal(best, method, runners_up=tuple(others))
    with Trials(problem, evaluations, method) as trials:
        trials.score([best])
        while trials.open and (asked := guide.ask(trials.left)):
            guide.tell(asked, trials.score(guide.plans(asked)))
    found = trials.proposal()
    others = [one for one in guide.best(own) if one != found.plan]
    return replace(found, runners_up=tuple(others))


@dataclass(frozen=True)
class Candidate:
    """A vector and the widths that it means."""

    vector: Vector
    widths: Widths


class Guide:
    """What was measured around the heuristic's plan, and what to try next.

    Args:
        problem: its plan's profile is known from the start.
        seed: of the draws.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem, self._space = problem, Space(problem, around_heuristic=True)
        self._rng = np.random.default_rng(seed)
        self._known: dict[bytes, tuple[float, Candidate]] = {}
        self._kernel, self._fitted_to = _KERNEL, 0
        self.tell([self.candidate(np.zeros(self._space.size))], [problem.reference.score])
        candidates = [self._around(one) for one in neighbours(problem)]
        self.tell(candidates, [one.score for one in problem.profile(self.plans(candidates))])

    def candidate(self, x: Vector) -> Candidate:
        """Decode a vector around the heuristic's allocation."""
        return Candidate(x, self._space.widths(x))

    def _around(self, allocation: Allocation) -> Candidate:
        widths = self._problem.budget.decode(self._problem.costs, allocation)
        return Candidate(self._space.vector(allocation), widths)

    def plans(self, candidates: Sequence[Candidate]) -> list[Plan]:
        """Return what candidates mean, to measure it."""
        return [Plan.from_widths(self._problem.graph, one.widths) for one in candidates]

    def tell(self, candidates: Sequence[Candidate], scores: Sequence[float]) -> None:
        """Learn search scores."""
        negligible = self._problem.sensitivity.negligible
        for one, score in zip(candidates, scores, strict=True):
            self._known[one.widths.tobytes()] = min(float(np.log(score + negligible)), _BROKEN), one

    def knows(self, candidate: Candidate) -> bool:
        """Whether it was told of these widths."""
        return candidate.widths.tobytes() in self._known

    def best(self, answer: Candidate) -> list[Plan]:
        """Return the best plans that it was told of, without the heuristic's if not the answer."""
        heuristic = self._problem.reference.plan.widths
        may_be = (answer.widths == heuristic).all()
        ranked = [one for _, one in self._sorted() if may_be or (one.widths != heuristic).any()]
        return self.plans(ranked[:MOST_KEPT])

    def _sorted(self) -> list[tuple[float, Candidate]]:
        return sorted(self._known.values(), key=lambda one: one[0])

    def ask(self, most: int) -> list[Candidate]:
        """Return new plans, the most promising first; none where none are left.

        Args:
            most: how many at most; there are no more than evolution has children.
        """
        if most <= 0:
            return []
        alive = [(score, one.vector) for score, one in self._sorted()[: _BREEDING.population]]
        for settings in _WIDER:
            born = [child(self._space, alive, self._rng, settings) for _ in range(_BORN)]
            found = {one.widths.tobytes(): one for one in map(self.candidate, born)}
            if new := [one for key, one in found.items() if key not in self._known]:
                break
        else:
            return []
        promise = self._expected_improvement(new)
        chosen = np.argsort(-promise, kind="stable")[: min(most, _BREEDING.children)]
        return [new[i] for i in chosen]

    def _expected_improvement(self, candidates: Sequence[Candidate]) -> npt.NDArray[np.float64]:
        scores, known = zip(*self._known.values(), strict=True)
        seen, guesses = self._features(known), self._guesses(known)
        targets = np.minimum(scores, np.quantile(scores, 0.9) + _OUTLIER)
        line = LinearRegression(positive=True).fit(guesses, targets)
        rest = targets - line.predict(guesses)
        scale = float(rest.std()) or 1.0
        process = self._fitted(seen, rest / scale)
        means, deviations = process.predict(self._features(candidates), return_std=True)
        noise = float(process.kernel_.k2.noise_level)
        spread = scale * np.sqrt(np.maximum(np.square(deviations) - noise, _LEAST_VARIANCE))
        least = (line.predict(guesses) + scale * process.predict(seen)).min()
        gains = least - (line.predict(self._guesses(candidates)) + scale * means)
        share = gains / spread
        return np.asarray(gains * norm.cdf(share) + spread * norm.pdf(share))

    def _guesses(self, candidates: Sequence[Candidate]) -> npt.NDArray[np.float64]:
        """Return the log of the sum of the estimated losses; shape `(candidates, 1)`."""
        widths = np.array([one.widths for one in candidates])
        return np.log(self._problem.estimated_losses(widths))[:, None]

    def _fitted(
        self, seen: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]
    ) -> GaussianProcessRegressor:
        refit = len(targets) >= _REFIT * self._fitted_to
        process = GaussianProcessRegressor(
            _KERNEL if refit else self._kernel, optimizer="fmin_l_bfgs_b" if refit else None
        )
        with warnings.catch_warnings():
            # A length that ends at its bound is one that does not matter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(seen, targets)
        if refit:
            self._kernel, self._fitted_to = process.kernel_, len(targets)
        return process

    def _features(self, candidates: Sequence[Candidate]) -> npt.NDArray[np.float64]:
        """Return log-widths relative to the heuristic's, and 1 for what is gone."""
        widths = np.array([one.widths for one in candidates])
        ratios = widths / np.maximum(self._problem.reference.plan.widths, 1)
        gone = (widths == 0).astype(float)
        return np.where(self._problem.graph.is_block, gone, np.log(np.maximum(ratios, 1e-9)))
