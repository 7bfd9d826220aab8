"""Train a policy with SB3's PPO on one or many pruning problems."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecMonitor
from torch import Tensor

from rlprune.agents.callbacks import PruningCallback
from rlprune.agents.policy import ResidualPolicy, policy_arguments
from rlprune.agents.ppo import PPOAgent
from rlprune.config import PPOSettings, RewardSettings
from rlprune.cost.budget import Budget
from rlprune.envs.reward import reward
from rlprune.envs.vector import PruningVecEnv, measure_together
from rlprune.envs.walk import Walk
from rlprune.errors import AgentError, first_line
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

_OF_NETWORK = ("hidden", "ranking", "description_scale")
"""Settings that a policy's weights depend on."""


@dataclass(frozen=True)
class Training:
    """What a training run gives back.

    Attributes:
        agent: the policy after its last update, not the best episode's.
        returns: of every episode, in order.
        deterministic: for every problem that was judged, the return of the policy without
            exploration before and after training.
        interrupted: whether Ctrl-C ended the run early.
        scores: search score of every episode's plan, in order.
        best_plans: `{index of a problem: (search score, plan)}`, the best that its episodes tried.
    """

    agent: PPOAgent
    returns: tuple[float, ...]
    deterministic: tuple[tuple[float, float], ...]
    interrupted: bool
    scores: tuple[float, ...]
    best_plans: Mapping[int, tuple[float, Plan]]


def train_agent(
    problems: Sequence[Problem],
    episodes: int,
    *,
    settings: PPOSettings | None = None,
    rewards: RewardSettings | None = None,
    seed: int = 0,
    start: PPOAgent | None = None,
    tensorboard: Path | None = None,
    notes: Mapping[str, str] | None = None,
    judged: Sequence[Problem] | None = None,
) -> Training:
    """Train a policy on a pool of problems.

    The walks of an update go side by side and their plans are measured together. Who measures them
    is the evaluators' scorers' business (`rlprune.evaluate.workers`); it does not change the agent.

    Args:
        problems: networks and budgets; every episode draws one.
        episodes: how many walks to train on; rounded up to whole updates, each of which takes
            `settings.episodes_per_update` of them, whole ones.
        settings: PPO hyperparameters.
        rewards: weights of the reward.
        seed: of the policy's initialisation, its exploration and the draws.
        start: continue from this policy's weights; the optimiser starts afresh.
        tensorboard: folder for event files, or None.
        notes: texts to show in TensorBoard, such as the configuration.
        judged: where the policy without exploration is measured before and after; all by default.

    Raises:
        AgentError: if the policy to continue from is another network than the settings ask for.
    """
    settings = settings or PPOSettings()
    shown = [one.ranked_by(settings.ranking) for one in (problems if judged is None else judged)]
    problems = [one.ranked_by(settings.ranking) for one in problems]
    if start is not None:
        check_same_network(start, settings)
    rewards = rewards or RewardSettings()
    count = settings.episodes_per_update
    env = PruningVecEnv(problems, count, rewards, settings.siblings)
    ppo = PPO(
        ResidualPolicy,
        VecMonitor(env),
        learning_rate=settings.learning_rate,
        n_steps=env.longest,
        batch_size=env.longest * count,
        rollout_buffer_class=WalkedSteps,
        rollout_buffer_kwargs={"siblings": settings.siblings},
        vf_coef=0.0,
        n_epochs=settings.n_epochs,
        gamma=1.0,
        gae_lambda=1.0,
        clip_range=settings.clip_range,
        ent_coef=settings.entropy_coefficient,
        policy_kwargs=policy_arguments(settings),
        seed=seed,
        device="cpu",
    )
    if start is not None:
        ppo.policy.load_state_dict(start.policy.state_dict())
    agent = PPOAgent(
        ppo.policy, settings, rewards, kept_ranges([problem.budget for problem in problems], start)
    )
    before = deterministic_returns(agent, shown)
    ppo.set_logger(_logger(tensorboard))
    hparams = {
        **settings.model_dump(),
        **{f"reward_{name}": value for name, value in rewards.model_dump().items()},
        "seed": seed,
    }
    timesteps = -(-episodes // count) * count * env.longest
    callback = PruningCallback(problems, timesteps, hparams, notes or {})
    interrupted = False
    try:
        ppo.learn(timesteps, callback=callback)
    except KeyboardInterrupt:
        interrupted = True
    except ValueError as error:
        if all(one.isfinite().all() for one in ppo.policy.parameters()):
            raise
        raise AgentError(
            f"the policy diverged ({first_line(error)}); lower --ppo.learning-rate, which is "
            f"{settings.learning_rate:g}"
        ) from error
    finally:
        callback.close()
        ppo.logger.close()
    ppo.policy.set_training_mode(False)
    after = deterministic_returns(agent, shown)
    agent.trained_on = {
        "models": sorted({problem.name for problem in problems}),
        "data": sorted({problem.data.tag for problem in problems}),
        "budgets": sorted({str(problem.budget) for problem in problems}),
        "episodes": len(callback.returns),
        "seed": seed,
    }
    pairs = tuple(zip(before, after, strict=True))
    return Training(
        agent,
        tuple(callback.returns),
        pairs,
        interrupted,
        tuple(callback.scores),
        callback.best_plans,
    )


def check_same_network(start: PPOAgent, settings: PPOSettings) -> None:
    """Check that a policy can be continued with these settings.

    Raises:
        AgentError: if not, with what to type.
    """
    own = {name: getattr(start.settings, name) for name in _OF_NETWORK}
    if own != {name: getattr(settings, name) for name in _OF_NETWORK}:
        flags = " ".join(f"--ppo.{name.replace('_', '-')} {own[name]}" for name in _OF_NETWORK)
        raise AgentError(f"the policy to continue from sees something else; type {flags}")


class WalkedSteps(RolloutBuffer):
    """A rollout of one episode each as one batch, without the steps in which environments waited.

    An episode is as good as its return beats the mean of its siblings' on the same problem (leave
    one out, Kool et al., 2019): what is hard about a problem cancels out, and no value function has
    to know it.

    Args:
        siblings: environments in a row that walk through the same problem.
    """

    def __init__(self, *args: Any, siblings: int, **named: Any) -> None:
        super().__init__(*args, **named)
        self._siblings = siblings

    def compute_returns_and_advantage(self, last_values: Tensor, dones: npt.NDArray[Any]) -> None:
        """Compare siblings; every step of an episode has the same advantage."""
        super().compute_returns_and_advantage(last_values, dones)
        paid = self.rewards.sum(axis=0).reshape(-1, self._siblings)
        others = (paid.sum(axis=1, keepdims=True) - paid) / (self._siblings - 1)
        self.advantages[:] = (paid - others).reshape(-1)

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Yield everything at once."""
        if not self.generator_ready:
            walked = self.swap_and_flatten(self.observations).any(axis=1)  # those waiting show 0
            for name in ("observations", "actions", "values", "log_probs", "advantages", "returns"):
                setattr(self, name, self.swap_and_flatten(getattr(self, name))[walked])
            self.generator_ready = True
        yield self._get_samples(np.arange(len(self.values)))


def kept_ranges(
    budgets: Iterable[Budget], start: PPOAgent | None = None
) -> dict[str, tuple[float, float]]:
    """Return the least and the largest kept fraction of every quantity that a policy has seen.

    Both are rounded outwards to hundredths.
    """
    found = {quantity: list(ends) for quantity, ends in (start.kept if start else {}).items()}
    for budget in budgets:
        for quantity, kept in budget.limits:
            found.setdefault(quantity, []).append(kept)
    return {quantity: _rounded(min(ends), max(ends)) for quantity, ends in found.items()}


def _rounded(least: float, largest: float) -> tuple[float, float]:
    hundredths = round(100 * least, 6), round(100 * largest, 6)
    return math.floor(hundredths[0]) / 100, math.ceil(hundredths[1]) / 100


def deterministic_returns(agent: PPOAgent, problems: Sequence[Problem]) -> list[float]:
    """Return what the policy without exploration is paid on every problem; one evaluation each."""
    plans = [problem.decode(agent.walk_allocation(Walk(problem))) for problem in problems]
    measured = measure_together(list(zip(problems, plans, strict=True)))
    paid = zip(problems, measured, strict=True)
    return [reward(problem, measurement, agent.reward).total for problem, measurement in paid]


def _logger(folder: Path | None) -> Logger:
    if folder is None:
        return Logger(None, [])
    folder.mkdir(parents=True, exist_ok=True)
    return Logger(str(folder), [TensorBoardOutputFormat(str(folder))])
