"""What does each kind of cheap experience buy? Policies fitted to some, paid on unseen families.

All see the pool without residual networks and VGG, and are judged by what their plain answers are
truly paid on the networks that they have not seen; the heuristic is paid 0.

    python scripts/make_pool.py --out runs/pool --networks 240 --workers 2
    python scripts/bench_experience.py --pool runs/pool --threads 1

About an hour on one core where agents of the pool have been trained, as what plans were paid is
kept there; `--quick` takes three networks of each side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from unittest.mock import patch

import numpy as np
import resumable
import torch
import train_agent
from bench import BenchSettings, Row, interval, publish, spread
from pydantic import Field
from returns import of_policy
from surrogate import CreditedSteps, CreditedVecEnv, surrogate_experience

from rlprune.agents import PPOAgent, training
from rlprune.agents.experience import Experience, opposite_pairs
from rlprune.agents.pretraining import pretrain
from rlprune.agents.space import Space
from rlprune.compare.statistics import estimate
from rlprune.config import ExperienceSettings, PPOSettings
from rlprune.evaluate.evaluator import Evaluator
from rlprune.machine import keep_freed_memory
from rlprune.pool.choosing import Names, split
from rlprune.pool.folder import read
from rlprune.problem import Problem
from rlprune.progress import track

HELD_OUT = Names(families=("residual", "vgg"))
REWARDS = train_agent.REWARDS
SURROGATE_DRAWS = 8
DEFAULT = "192 measured plans a network"


class ExperienceBenchSettings(BenchSettings):
    """Flags of this benchmark."""

    pool: Path = Path("runs/pool")
    """Folder of the pool."""
    seeds: int = Field(default=3, ge=1)
    """Fits to each kind; what their policies are paid is averaged."""
    episodes: int = Field(default=4032, ge=0)
    """Of PPO, one seed of it."""


Paid = Mapping[str, float]
"""By network: the mean over its problems, and over policies."""


def main(settings: ExperienceBenchSettings) -> None:
    """Fit policies to all kinds, pay them, and write the table."""
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    options = train_agent.Options(pool=settings.pool, out=Path("unused"))
    explorer, sides = train_agent.Explorer(options), split(read(settings.pool), HELD_OUT)
    few = 3 if settings.quick else None
    shown = explorer.all_problems(sides.training[:few])
    judged = explorer.all_problems(sides.held_out[:few])
    seeds = range(1 if settings.quick else settings.seeds)
    episodes = min(settings.episodes, 64) if settings.quick else settings.episodes

    def fitted(found: Sequence[Experience], ppo: PPOSettings = options.ppo) -> Paid:
        agents = [
            PPOAgent(pretrain(found, options.pretraining, ppo, seed).policy, ppo, REWARDS, {}, {})
            for seed in seeds
        ]
        return paid(agents, judged)

    measured = [explorer.tried(problem) for problem in shown]
    draws = [ExperienceSettings(seed=seed) for seed in range(1, 1 + SURROGATE_DRAWS)]
    cheap = [
        [surrogate_experience(problem, some, REWARDS) for problem in shown]
        for (some,) in track(draws, "asking the surrogate")
    ]
    raw = [unscaled(one, problem) for one, problem in zip(measured, shown, strict=True)]
    sharp = options.ppo.model_copy(update={"description_scale": 1.0})
    found = {
        DEFAULT: fitted(measured),
        "12 measured plans a network": fitted([first(one, 2) for one in measured]),
        "48 measured plans a network": fitted([first(one, 8) for one in measured]),
        "1536 plans a network, paid by the surrogate": fitted(
            [one for some in cheap for one in some]
        ),
        "measured plans, and as many paid by the surrogate": fitted([*measured, *cheap[0]]),
        "measured, not in opposite pairs": fitted([unpaired(one) for one in measured]),
        "measured, not relative to the heuristic": fitted(raw),
        "measured, descriptions at full scale": fitted(measured, sharp),
        f"PPO alone, {episodes} episodes": paid([taught(shown, episodes, options.ppo)], judged),
    }
    with (
        patch.object(training, "PruningVecEnv", CreditedVecEnv),
        patch.object(training, "WalkedSteps", CreditedSteps),
    ):
        agent = taught(shown, episodes, options.ppo)
        found[f"PPO alone, {episodes} episodes, dense credit"] = paid([agent], judged)
    publish(
        "experience",
        settings,
        [*rows_of(found), *noise_of(shown)],
        "Returns are log(heuristic's search score / the policy's), without search, on networks of "
        "the families that were held out; 95 % t intervals over networks, each the mean of its "
        "three problems and of all fits. The surrogate adds up what each group loses alone. Not "
        "relative to the heuristic: search scores themselves, scaled alike for all networks. "
        "Dense credit: every step is paid what it changes of the surrogate's word, as a potential. "
        "Share of noise: how much of the variance of the difference between two opposite plans "
        "depends on which 256 samples score them, the same for both or others for each; "
        "median, least and most over networks.",
    )


def paid(agents: Sequence[PPOAgent], problems: Sequence[Problem]) -> Paid:
    """Return what plain answers are truly paid."""
    found: dict[str, list[float]] = {}
    for (problem,) in track(problems, "paying policies"):
        own = [of_policy(problem, agent, REWARDS) for agent in agents]
        found.setdefault(problem.name, []).append(fmean(own))
    return {name: fmean(some) for name, some in found.items()}


def taught(problems: Sequence[Problem], episodes: int, ppo: PPOSettings) -> PPOAgent:
    """Return an agent that PPO alone has trained."""
    found = training.train_agent(
        problems, episodes, settings=ppo, rewards=REWARDS, judged=problems[:1]
    )
    if found.interrupted:
        raise KeyboardInterrupt
    return found.agent


def first(one: Experience, pairs: int) -> Experience:
    """Return the first pairs alone."""
    return replace(one, actions=one.actions[:pairs], returns=one.returns[:pairs])


def unpaired(one: Experience) -> Experience:
    """Return plans as if each was tried for itself: against the mean of all, not its opposite.

    Half the difference of a row is how much better the plan is than the mean, and its mean what the
    plan is paid.
    """
    opposite = np.where(one.is_block, one.actions, -one.actions)
    own, mean = one.returns.T.reshape(-1), one.returns.mean()
    returns = np.stack([2 * own - mean, np.full(len(own), mean)], axis=1)
    return replace(one, actions=np.concatenate([one.actions, opposite]), returns=returns)


def unscaled(one: Experience, problem: Problem) -> Experience:
    """Return search scores in place of their logarithms' differences to the heuristic's."""
    base = problem.reference.score + problem.sensitivity.negligible
    return replace(one, returns=-base * np.exp(-one.returns))


def rows_of(found: Mapping[str, Paid]) -> list[Row]:
    """Return what every kind is paid, and how much more than the default."""
    rows, default = [], found[DEFAULT]
    for name, own in found.items():
        rows.append(interval(name, "return on held-out families", estimate([*own.values()])))
        if name != DEFAULT:
            more = [own[network] - default[network] for network in default]
            rows.append(interval(name, f"return - that of {DEFAULT}", estimate(more)))
    return rows


def noise_of(problems: Sequence[Problem], networks: int = 20, pairs: int = 16) -> list[Row]:
    """Return the share of noise in differences between opposite plans, scored alike or not."""
    own = {one.name: one for one in problems if len(one.data.search) > 1024}
    some = ExperienceSettings(pairs=pairs, blocks=0.0)
    shares: dict[str, list[float]] = {"the same samples": [], "others for each": []}
    for (problem,) in track([*own.values()][:networks], "scoring on other samples"):
        space = Space(problem, around_heuristic=True)
        plans = [space.plan(x) for pair in opposite_pairs(problem, some) for x in pair]
        logs = []
        for seed in (1, 2):
            evaluator = Evaluator(
                problem.evaluator.model,
                problem.graph,
                problem.data,
                latency=problem.evaluator.latency,
                seed=seed,
                device=problem.evaluator.device,
                settings=problem.evaluator.settings,
            )
            scores = [one.score for one in evaluator.evaluate_many(plans)]
            logs.append(np.log(np.array(scores) + problem.sensitivity.negligible).reshape(-1, 2))
        one, other = (log[:, 0] - log[:, 1] for log in logs)
        signal = max(0.0, float((one * other).mean()))
        noises = np.square(one - other).mean() / 2, np.square(logs[0] - logs[1]).mean()
        for name, noise in zip(shares, noises, strict=True):
            shares[name].append(float(noise / max(noise + signal, 1e-12)))
    return [
        spread("common random numbers", f"share of noise, {name}", some, centre=np.median)
        for name, some in shares.items()
        if some
    ]


if __name__ == "__main__":
    resumable.run(main, ExperienceBenchSettings, __doc__)
