"""Train an agent on a pool of networks; the same command goes on where it was interrupted.

    python scripts/make_pool.py --out runs/pool --networks 240 --workers 2
    python scripts/train_agent.py --pool runs/pool --out runs/agent --workers 2

First plans around the heuristic's are tried on every network, once for all agents of a pool: what
they were paid is kept in `POOL/profiles`. A policy is fitted to that, and trained further by PPO.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import resumable
import torch
from pydantic import Field

from rlprune.agents.bundle import load_agent, save_agent
from rlprune.agents.experience import Experience, gather
from rlprune.agents.ppo import PPOAgent
from rlprune.agents.pretraining import pretrain
from rlprune.agents.training import kept_ranges, train_agent
from rlprune.cache.fingerprint import combined
from rlprune.cache.store import Store
from rlprune.compare.processes import results, tasks_for
from rlprune.compare.statistics import estimate
from rlprune.config import (
    MOST_SEED,
    EvaluationSettings,
    ExperienceSettings,
    PPOSettings,
    PretrainingSettings,
    RewardSettings,
    Settings,
)
from rlprune.errors import RunError
from rlprune.files import write_text
from rlprune.machine import check_threads, keep_freed_memory
from rlprune.pool.choosing import Names, split
from rlprune.pool.data import pool_data
from rlprune.pool.folder import Entry, read
from rlprune.pool.problems import Draws, problems_of
from rlprune.problem import Problem
from rlprune.progress import track

FEWEST_NETWORKS = 2
"""Some choose the epoch of the fit to the others."""

_FREE = {"pool", "out", "workers", "threads", "data_dir"}
"""Options that decide where and how fast; of the pool the networks count."""

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
    experience: ExperienceSettings = ExperienceSettings()
    """Plans around the heuristic's."""
    pretraining: PretrainingSettings = PretrainingSettings()
    """The fit to them."""
    episodes: int = Field(default=4_000, ge=0)
    """Plans of the policy's own that PPO evaluates."""
    part: int = Field(default=4_000, ge=1)
    """Episodes after which the agent is saved."""
    ppo: PPOSettings = PPOSettings(
        learning_rate=3e-4, episodes_per_update=64, description_scale=0.02
    )
    """Hyperparameters; the learning rate falls from part to part."""
    images: int = Field(default=256, ge=2)
    """Search samples that score a plan."""
    seed: int = Field(default=0, ge=0, lt=MOST_SEED)
    """Of the policy, its exploration and the draws of episodes."""
    workers: int = Field(default=1, ge=1)
    """Processes that try plans."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of each."""
    data_dir: Path | None = None
    """Where data files are looked for and downloaded to."""


class Explorer:
    """Tries plans of the networks of a pool.

    Args:
        options: of the training.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._data = cache(lambda name: pool_data(name, options.data_dir))
        self._store = Store(options.pool / "profiles", max_bytes=2**30)

    def problems(self, entry: Entry) -> list[Problem]:
        """Return the problems of one network."""
        options = self._options
        problems = problems_of(
            entry,
            self._data(entry.record.job.data),
            options.draws,
            evaluation=EvaluationSettings(images=options.images, precision="float32"),
            store=self._store,
        )
        return [one.ranked_by(options.ppo.ranking) for one in problems]

    def all_problems(self, entries: Sequence[Entry]) -> list[Problem]:
        """Return the problems of networks, in order."""
        return [
            problem
            for (entry,) in track(entries, "setting up problems")
            for problem in self.problems(entry)
        ]

    def tried(self, problem: Problem) -> Experience:
        """Return the experience of one problem."""
        return gather(problem, self._options.experience, REWARDS, self._store)

    def explore(self, entry: Entry) -> list[Experience]:
        """Return the experience of one network, a set for each of its problems."""
        return [self.tried(problem) for problem in self.problems(entry)]


def explored(options: Options, entries: Sequence[Entry]) -> list[Experience]:
    """Return the experience of networks."""
    found: dict[str, list[Experience]] = {}
    with tasks_for(Explorer, (options,), options.workers) as tasks:
        calls = results(tasks, "explore", entries)
        for _, (entry, experience) in zip(track(entries, "trying plans"), calls, strict=True):
            found[entry.name] = experience
    return [one for entry in entries for one in found[entry.name]]


def main(options: Options) -> None:
    """Train the parts that are not there yet."""
    check_threads(options.threads, options.workers)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    held_out = Names(options.families, options.data, options.depths)
    entries = split(read(options.pool), held_out).training
    if len(entries) < FEWEST_NETWORKS:
        raise RunError("one network teaches nothing about others; hold out fewer names")
    _remember(options, entries)
    if (options.out / "agent").exists():
        print(f"{options.out / 'agent'} is there already")
        return
    agent = _pretrained(options, entries)
    parts = -(-options.episodes // options.part)
    missing = [number for number in range(parts) if not _folder(options, number).exists()]
    problems = Explorer(options).all_problems(entries) if missing else []
    for number in range(parts):
        if number in missing:
            agent = _trained_further(options, problems, number, 1 - number / parts, agent)
            save_agent(agent, _folder(options, number))
        else:
            agent = load_agent(_folder(options, number))
    save_agent(agent, options.out / "agent")


def _remember(options: Options, entries: Sequence[Entry]) -> None:
    """Write down what the agent is made of: options, and a digest of the networks.

    Raises:
        RunError: if what is there was made of anything else, or is damaged.
    """
    now = json.loads(options.model_dump_json(exclude=_FREE))
    now["networks"] = combined(*(f"{one.name} {one.record.weights}" for one in entries))
    if options.out.exists() and not options.out.is_dir():
        raise RunError(f"{options.out} is a file; give a folder")
    path = options.out / "config.json"
    if path.exists():
        try:
            before = json.loads(path.read_text())
        except ValueError as error:
            raise RunError(f"{path} is damaged; choose another --out") from error
        changed = sorted(name for name in before | now if before.get(name) != now.get(name))
        if changed:
            raise RunError(
                f"{options.out} holds a training that was begun with other {', '.join(changed)}; "
                "choose another --out, or type the same as then"
            )
    write_text(path, json.dumps(now, indent=2) + "\n")


def _folder(options: Options, part: int | str) -> Path:
    return options.out / "parts" / (part if isinstance(part, str) else f"{part:03d}")


def _pretrained(options: Options, entries: Sequence[Entry]) -> PPOAgent:
    folder = _folder(options, "pretrained")
    if folder.exists():
        return load_agent(folder)
    found = explored(options, entries)
    fitted = pretrain(found, options.pretraining, options.ppo, options.seed)
    _say(part="pretrained", problems=len(found), predicted=max(fitted.gains))
    kept = kept_ranges(one.budget for one in found)
    agent = PPOAgent(fitted.policy, options.ppo, REWARDS, kept, _trained_on(options, entries))
    save_agent(agent, folder)
    return agent


def _trained_further(
    options: Options, problems: Sequence[Problem], number: int, rate: float, start: PPOAgent
) -> PPOAgent:
    """Run PPO; it is kept where the policy, without exploration, is better paid beyond chance."""
    settings = options.ppo.model_copy(update={"learning_rate": rate * options.ppo.learning_rate})
    training = train_agent(
        problems,
        min(options.part, options.episodes - number * options.part),
        settings=settings,
        rewards=REWARDS,
        seed=1000 * options.seed + number,
        start=start,
        judged=problems[:: max(1, len(problems) // 100)],
    )
    if training.interrupted:
        raise KeyboardInterrupt
    gain = estimate([after - before for before, after in training.deterministic])
    better = gain.low is not None and gain.low > 0
    _say(part=number, paid=fmean(training.returns), gain=gain.mean, low=gain.low, kept=better)
    if not better:
        return start
    episodes = start.trained_on["episodes"] + len(training.returns)
    record = {**start.trained_on, "episodes": episodes}
    return replace(training.agent, settings=options.ppo, trained_on=record)


def _trained_on(options: Options, entries: Sequence[Entry]) -> dict[str, Any]:
    jobs = [entry.record.job for entry in entries]
    return {
        "networks": len(entries),
        "families": sorted({job.spec.family for job in jobs}),
        "data": sorted({job.tag for job in jobs}),
        "plans around the heuristic's": 2 * options.experience.pairs * options.draws.budgets,
        "episodes": 0,
        "seed": options.seed,
    }


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    resumable.run(main, Options, __doc__)
