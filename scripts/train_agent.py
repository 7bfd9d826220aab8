"""Train an agent on a pool of networks; the same command goes on where it was interrupted.

    python scripts/make_pool.py --out runs/pool --networks 240 --workers 2
    python scripts/train_agent.py --pool runs/pool --out runs/agent

After every part the agent so far is in `OUT/parts/`; the last one is `OUT/agent`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

import torch
import tyro
from pydantic import Field

from rlprune.agents.bundle import load_agent, save_agent
from rlprune.agents.ppo import PPOAgent
from rlprune.agents.training import train_agent
from rlprune.cache.store import Store
from rlprune.config import EvaluationSettings, PPOSettings, RewardSettings, Settings
from rlprune.files import write_text
from rlprune.machine import keep_freed_memory
from rlprune.pool.choosing import Names, split
from rlprune.pool.data import pool_data
from rlprune.pool.folder import read
from rlprune.pool.problems import Draws, problems_of
from rlprune.problem import Problem
from rlprune.progress import track

REWARDS = RewardSettings(macs=0.0, latency=0.0)
"""Budgets are met by construction; within them only quality counts."""


class Options(Settings):
    """What the agent learns from, and for how long."""

    pool: Path
    """Folder of the pool."""
    out: Path
    """Folder of the agent, new or to go on with."""
    families: tuple[str, ...] = ()
    """Families to hold out."""
    data: tuple[str, ...] = ()
    """Tasks to hold out."""
    depths: tuple[str, ...] = ()
    """Depths to hold out: shallow, medium, deep."""
    draws: Draws = Draws()
    """Problems of each network."""
    surrogate: int = Field(default=0, ge=0)
    """Episodes on sums of sensitivity curves, before the true ones."""
    episodes: int = Field(default=100_000, ge=1)
    """Plans that are truly evaluated."""
    part: int = Field(default=10_000, ge=1)
    """Episodes after which the agent is saved."""
    images: int = Field(default=256, ge=2)
    """Search samples that score a plan."""
    ppo: PPOSettings = PPOSettings(learning_rate=1e-3, episodes_per_update=64)
    """Hyperparameters; the learning rate falls linearly to zero."""
    seed: int = Field(default=0, ge=0)
    """Of the policy, its exploration and the draws of episodes."""
    threads: int = Field(default=1, ge=1)
    """CPU threads."""
    data_dir: Path | None = None
    """Where data files are looked for and downloaded to."""


def main(options: Options) -> None:
    """Train the parts that are not there yet."""
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    write_text(options.out / "config.json", options.model_dump_json(indent=2) + "\n")
    problems = pool_problems(options)
    agent: PPOAgent | None = None
    if options.surrogate:
        fast = [problem.surrogate() for problem in problems]
        agent = _part(options, fast, "surrogate", options.surrogate, 1.0, agent)
    parts = -(-options.episodes // options.part)
    for number in range(parts):
        left = 1 - number / parts
        agent = _part(options, problems, f"{number:03d}", options.part, left, agent)
    if agent is not None and not (options.out / "agent").exists():
        save_agent(agent, options.out / "agent")


def pool_problems(options: Options) -> list[Problem]:
    """Build all problems of the networks that are not held out."""
    held_out = Names(options.families, options.data, options.depths)
    entries = split(read(options.pool), held_out).training
    load = cache(lambda name: pool_data(name, options.data_dir))
    store = Store(options.pool / "profiles", max_bytes=2**30)
    evaluation = EvaluationSettings(images=options.images, precision="float32")
    problems = []
    for (entry,) in track(entries, "profiling networks"):
        data = load(entry.record.job.data)
        found = problems_of(entry, data, options.draws, evaluation=evaluation, store=store)
        problems += found
    return problems


def _part(
    options: Options,
    problems: Sequence[Problem],
    name: str,
    episodes: int,
    rate: float,
    start: PPOAgent | None,
) -> PPOAgent:
    folder = options.out / "parts" / name
    if folder.exists():
        return load_agent(folder)
    number = 0 if name == "surrogate" else 1 + int(name)
    settings = options.ppo.model_copy(update={"learning_rate": rate * options.ppo.learning_rate})
    training = train_agent(
        problems,
        episodes,
        settings=settings,
        rewards=REWARDS,
        seed=1000 * options.seed + number,
        start=start,
        judged=problems[:: max(1, len(problems) // 100)],
    )
    if training.interrupted:
        raise KeyboardInterrupt
    before, after = zip(*training.deterministic, strict=True)
    line = {
        "part": name,
        "return": fmean(training.returns),
        "before": fmean(before),
        "after": fmean(after),
        "std": float(training.agent.policy.log_std.detach().exp().mean()),
    }
    print(json.dumps(line), flush=True)
    training.agent.settings = options.ppo
    save_agent(training.agent, folder)
    return training.agent


if __name__ == "__main__":
    main(tyro.cli(Options))
