"""Train a policy with SB3's PPO on one or many pruning problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from rlprune.agents.callbacks import PruningCallback
from rlprune.agents.ppo import PPOAgent, policy_arguments
from rlprune.config import PPOSettings, RewardSettings
from rlprune.envs import ENV_ID
from rlprune.envs.reward import reward
from rlprune.envs.walk import Walk
from rlprune.problem import Problem


@dataclass(frozen=True)
class Training:
    """What a training run gives back.

    Attributes:
        agent: the policy after its last update, not the best episode's.
        returns: of every episode, in order.
        deterministic: for every problem, the return of the policy without exploration before and
            after training.
        interrupted: whether Ctrl-C ended the run early.
    """

    agent: PPOAgent
    returns: tuple[float, ...]
    deterministic: tuple[tuple[float, float], ...]
    interrupted: bool


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
) -> Training:
    """Train a policy on a pool of problems.

    Args:
        problems: networks and budgets; every episode draws one.
        episodes: how many walks to train on; rounded up to whole updates.
        settings: PPO hyperparameters.
        rewards: weights of the reward.
        seed: of the policy's initialisation, its exploration and the draws.
        start: continue from this policy's weights; the optimiser starts afresh.
        tensorboard: folder for event files, or None.
        notes: texts to show in TensorBoard, such as the configuration.
    """
    settings = settings or PPOSettings()
    rewards = rewards or RewardSettings()
    env = gymnasium.make(f"rlprune.envs:{ENV_ID}", problem=list(problems), settings=rewards)
    groups = float(np.mean([len(problem.graph.groups) for problem in problems]))
    steps = round(settings.episodes_per_update * groups)
    ppo = PPO(
        "MlpPolicy",
        env,
        learning_rate=settings.learning_rate,
        n_steps=steps,
        batch_size=steps,
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
    agent = PPOAgent(ppo.policy, settings, rewards)
    before = [deterministic_return(agent, problem) for problem in problems]
    ppo.set_logger(_logger(tensorboard))
    hparams = {
        **settings.model_dump(),
        **{f"reward_{name}": value for name, value in rewards.model_dump().items()},
        "seed": seed,
    }
    timesteps = round(episodes * groups)
    callback = PruningCallback(problems, timesteps, hparams, notes or {})
    interrupted = False
    try:
        ppo.learn(timesteps, callback=callback)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        callback.close()
        ppo.logger.close()
    ppo.policy.set_training_mode(False)
    after = [deterministic_return(agent, problem) for problem in problems]
    agent.trained_on = {
        "models": sorted({problem.name for problem in problems}),
        "data": sorted({problem.data.tag for problem in problems}),
        "budgets": sorted({str(problem.budget) for problem in problems}),
        "episodes": len(callback.returns),
        "seed": seed,
    }
    pairs = tuple(zip(before, after, strict=True))
    return Training(agent, tuple(callback.returns), pairs, interrupted)


def deterministic_return(agent: PPOAgent, problem: Problem) -> float:
    """Return what the policy without exploration is paid on a problem; one evaluation."""
    plan = problem.decode(agent.walk_allocation(Walk(problem)))
    measured = problem.evaluate(plan, latency=agent.reward.latency > 0)
    return reward(problem, measured, agent.reward).total


def _logger(folder: Path | None) -> Logger:
    if folder is None:
        return Logger(None, [])
    folder.mkdir(parents=True, exist_ok=True)
    return Logger(str(folder), [TensorBoardOutputFormat(str(folder))])
