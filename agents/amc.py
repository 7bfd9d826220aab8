"""How AMC (He et al., ECCV 2018) learns: DDPG with its hyperparameters, rewarded per episode.

Actor, critic and their updates are stable-baselines3's. Its loop is not used, because AMC stores an
episode when it is over, with the final reward in every transition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import truncnorm
from stable_baselines3 import DDPG
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import update_learning_rate
from stable_baselines3.common.vec_env import VecNormalize
from torch.optim import Optimizer

from rlprune.envs.amc import AMCEnv
from rlprune.envs.observation.feature import Features
from rlprune.evaluate.evaluator import Measurement
from rlprune.surgery.plan import Plan

ACTOR_RATE, CRITIC_RATE = 1e-4, 1e-3
HIDDEN = (300, 300)
BATCH, TAU, GAMMA = 64, 0.01, 1.0
REPLAYED_EPISODES = 100
SIGMA, SIGMA_DECAY = 0.5, 0.95
BASELINE_RATE = 0.5

Action = npt.NDArray[np.float32]
Act = Callable[[Features], Action]


class BaselineReplay(ReplayBuffer):
    """Replays rewards less a moving average of the mean reward of a batch."""

    baseline: float | None = None

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw a batch and let the average follow it."""
        drawn = super().sample(batch_size, env)
        mean = float(drawn.rewards.mean())
        known = mean if self.baseline is None else self.baseline
        self.baseline = known + BASELINE_RATE * (mean - known)
        return drawn._replace(rewards=drawn.rewards - self.baseline)


class AMCLearner(DDPG):
    """DDPG whose actor and critic learn at rates of their own.

    Args:
        env: one network and budget.
        seed: of the networks and of what is replayed.
    """

    replay_buffer: BaselineReplay

    def __init__(self, env: AMCEnv, seed: int) -> None:
        super().__init__(
            "MlpPolicy",
            env,
            learning_rate=CRITIC_RATE,
            buffer_size=REPLAYED_EPISODES * len(env.order),
            batch_size=BATCH,
            tau=TAU,
            gamma=GAMMA,
            replay_buffer_class=BaselineReplay,
            policy_kwargs={"net_arch": list(HIDDEN)},
            seed=seed,
            device="cpu",
        )
        update_learning_rate(self.actor.optimizer, ACTOR_RATE)
        self.set_logger(Logger(None, []))

    def _update_learning_rate(self, optimizers: list[Optimizer] | Optimizer) -> None:
        """Leave both as they are: the rates are constant, and SB3 would set one for both."""

    def explore(self, rng: np.random.Generator, sigma: float) -> Act:
        """Return how actions are drawn: from a normal around the actor's, truncated to [0, 1]."""

        def act(observation: Features) -> Action:
            aim = self.predict(observation, deterministic=True)[0].astype(np.float64)
            ends = -aim / sigma, (1 - aim) / sigma
            drawn = truncnorm.rvs(*ends, aim, sigma, size=aim.shape, random_state=rng)
            return np.asarray(np.clip(drawn, 0.0, 1.0), dtype=np.float32)

        return act

    def remember(self, episode: Episode) -> None:
        """Store every step of an episode with its final reward."""
        reward, last = np.array([episode.reward]), len(episode.actions) - 1
        for i, action in enumerate(episode.actions):
            seen, then = episode.observations[i], episode.observations[i + 1]
            scaled = self.policy.scale_action(action)
            self.replay_buffer.add(seen, then, scaled, reward, np.array([i == last]), [{}])


@dataclass(frozen=True)
class Episode:
    """One walk: what was seen and done at every step, and what came of it.

    Attributes:
        observations: one more than actions; the last one is what is seen after the end.
        actions: as the agent wanted them, before the wall.
        reward: paid at the end.
        plan: what the actions mean under the wall.
        measurement: of the plan.
    """

    observations: tuple[Features, ...]
    actions: tuple[Action, ...]
    reward: float
    plan: Plan
    measurement: Measurement

    @property
    def worth(self) -> tuple[float, float]:
        """The reward; of plans that are paid alike, the better search score."""
        return self.reward, -self.measurement.score


def play(env: AMCEnv, act: Act) -> Episode:
    """Walk all groups and measure the plan."""
    observation, _ = env.reset()
    observations, actions, done = [observation], [], False
    while not done:
        actions.append(act(observation))
        observation, paid, done, _, info = env.step(actions[-1])
        observations.append(observation)
    plan, measurement = info["plan"], info["measurement"]
    return Episode(tuple(observations), tuple(actions), paid, plan, measurement)


def random_actions(rng: np.random.Generator) -> Act:
    """Return how actions are drawn before anything is learned: uniformly from [0, 1]."""
    return lambda _: rng.random(1, dtype=np.float32)


def sigma_at(episode: int, warm_up: int) -> float:
    """Return the spread of the noise on actions, which decays after the random episodes."""
    return float(SIGMA * SIGMA_DECAY ** (episode - warm_up))
