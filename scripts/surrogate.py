"""Episodes without evaluations: plans are paid what the estimated curves say of them.

The loss of a plan is taken for the sum of what each group loses alone (`estimated_losses`), which
takes microseconds. As a potential it credits every step of a walk with what its action changes; the
sum over the walk stays what is truly paid (Ng, Harada and Russell, ICML 1999).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn
from torch import Tensor

from rlprune.agents.experience import Experience, opposite_pairs
from rlprune.agents.space import Space, Vector
from rlprune.agents.training import WalkedSteps
from rlprune.config import ExperienceSettings, RewardSettings
from rlprune.cost.analytic import Widths
from rlprune.envs.vector import PruningVecEnv
from rlprune.problem import Problem


def surrogate_return(problem: Problem, widths: Widths) -> float:
    """Return what a plan would be paid by the curves; the heuristic's 0."""
    base = problem.estimated_losses(problem.reference.plan.widths)
    return float(np.log(base / problem.estimated_losses(widths)))


def surrogate_experience(
    problem: Problem, settings: ExperienceSettings, rewards: RewardSettings
) -> Experience:
    """Return what `gather` does, paid by the curves; nothing is evaluated but the profile."""
    space = Space(problem, around_heuristic=True)

    def paid(x: Vector) -> float:
        found = rewards.quality * surrogate_return(problem, space.widths(x))
        return float(np.clip(found, -rewards.clip, rewards.clip))

    pairs = opposite_pairs(problem, settings)
    return Experience.of(problem, pairs, np.array([[paid(x), paid(y)] for x, y in pairs]))


class CreditedVecEnv(PruningVecEnv):
    """Pays every step what its action changes of the surrogate's word; sums stay as they are."""

    def step_wait(self) -> VecEnvStepReturn:
        """Add the change of the potential, which is 0 at the start and at the end of a walk."""
        before = [self._potential(i) for i in range(self.num_envs)]
        seen, paid, done, infos = super().step_wait()
        after = [0.0 if done[i] else self._potential(i) for i in range(self.num_envs)]
        return seen, paid + np.array(after) - np.array(before), done, infos

    def _potential(self, i: int) -> float:
        walk = self.envs[i].walk
        if not walk.actions:
            return 0.0
        problem = walk.problem
        widths = problem.budget.decode(problem.costs, walk.allocation())
        return surrogate_return(problem, widths)


class CreditedSteps(WalkedSteps):
    """A step is as good as what is paid from there on beats that of its siblings' steps."""

    def compute_returns_and_advantage(
        self, last_values: Tensor, dones: npt.NDArray[np.bool_]
    ) -> None:
        """Compare siblings step by step."""
        super().compute_returns_and_advantage(last_values, dones)
        left = self.rewards[::-1].cumsum(axis=0)[::-1]
        families = left.reshape(len(left), -1, self._siblings)
        others = families.sum(axis=2, keepdims=True) - families
        self.advantages[:] = (families - others / (self._siblings - 1)).reshape(left.shape)
