"""Does the agent generalise? Trained without families or a task, applied to these, against rivals.

Every part holds out what it is named after. An agent is trained on the rest of the pool for each
seed, and judged by `rlprune compare` on networks that it has never seen, with all rivals at the
same budgets, on the same samples, with the same fine-tuning; `@N` is what a method may evaluate,
`/K` how many of its plans validation chooses from.

    python scripts/make_pool.py --out runs/pool --networks 240 --workers 2
    python scripts/bench_agent.py --pool runs/pool --workers 2 --threads 1

About 12 hours on 2 cores; the same command goes on where it was interrupted. `--parts` and
`--seeds` do some of it, and what is finished lies in `benchmarks/agent/`: the table is made from
all that is there. No agent is trained in a minute: `--quick` makes the table and nothing else.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import resumable
import torch
import train_agent
from agent_table import CONTROLS, RIVALS, SEARCHES, Return, Unit, notes, table
from bench import BENCHMARKS, COMMIT, BenchSettings, publish
from pydantic import Field
from returns import of_chance, of_policy, of_shuffled, of_unwatched

from rlprune.agents import load_agent
from rlprune.compare.result import read_comparison
from rlprune.errors import UnknownNameError
from rlprune.files import write_text
from rlprune.machine import keep_freed_memory
from rlprune.pool.choosing import Names, split
from rlprune.pool.folder import read
from rlprune.progress import track
from rlprune.report.measure import describe_device

FINISHED = BENCHMARKS / "agent"
"""What is finished: a file for each part and seed."""

BUDGETS = ("macs=0.5", "macs=0.3", "macs=0.15", "macs=0.08", "latency=0.5")
PROFILE = 400  # evaluations that a rival's profile may take at most, more than any takes here
DRAWS = 4  # of shuffled features, and of random actions
FASHION = "--data fashion-mnist --image-size 14"
DIGITS = "--data digits"


@dataclass(frozen=True)
class Part:
    """What is held out, and what the agent is judged on.

    Attributes:
        held_out: names.
        models: networks.
        task: flags of `rlprune compare`.
        searches: whether searches with evaluations are compared too, and networks fine-tuned.
        agent: the part whose agents are judged; its own where empty.
    """

    held_out: Names
    models: tuple[str, ...]
    task: str = FASHION
    searches: bool = True
    agent: str = ""


_RESIDUAL_VGG = Names(families=("residual", "vgg"))
PARTS = {
    "without-residual-vgg": Part(_RESIDUAL_VGG, ("resnet20", "vgg")),
    "without-depthwise-dense": Part(
        Names(families=("depthwise", "dense")), ("mobilenetv2", "densenet")
    ),
    "without-fashion-mnist": Part(
        Names(data=("fashion-mnist-14",)), ("resnet20", "vgg"), searches=False
    ),
    "without-digits": Part(Names(data=("digits",)), ("resnet20", "vgg"), DIGITS, searches=False),
    "resnet56": Part(_RESIDUAL_VGG, ("resnet56",), agent="without-residual-vgg"),
}


class AgentBenchSettings(BenchSettings):
    """Flags of this benchmark."""

    pool: Path = Path("runs/pool")
    """Folder of the pool."""
    runs: Path = Path("runs/agent-study")
    """Folder of agents and comparisons, new or to go on with."""
    parts: tuple[str, ...] = tuple(PARTS)
    """Parts to work on."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds to work on: of the agent's training, search images, searches and fine-tuning."""
    workers: int = Field(default=1, ge=1)
    """Processes; with --threads each."""


def main(settings: AgentBenchSettings) -> None:
    """Work on what is not finished, then write the table of all that is."""
    for name in settings.parts:
        if name not in PARTS:
            raise UnknownNameError("part", name, PARTS)
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    for seed in () if settings.quick else settings.seeds:
        for name in settings.parts:
            path = FINISHED / f"{name}-{seed}.json"
            if not path.exists():
                unit = work(settings, name, seed)
                write_text(path, unit.model_dump_json(indent=1) + "\n")
    units = [Unit.model_validate_json(path.read_text()) for path in sorted(FINISHED.glob("*.json"))]
    publish("agent", settings, table(units), notes(units))


def work(settings: AgentBenchSettings, name: str, seed: int) -> Unit:
    """Train an agent without what the part holds out, and judge it there."""
    part = PARTS[name]
    training = train_agent.Options(
        pool=settings.pool,
        out=settings.runs / (part.agent or name) / f"agent-{seed}",
        families=part.held_out.families,
        data=part.held_out.data,
        seed=seed,
        workers=settings.workers,
        threads=settings.threads,
    )
    run = settings.runs / name / f"compare-{seed}"
    commits = _signed(settings.runs / name / f"commits-{seed}.txt")
    if not (part.agent and (training.out / "agent").exists()):  # judging alone needs no pool
        train_agent.main(training)
    agent = str(training.out / "agent")
    subprocess.run(
        [sys.executable, "-m", "rlprune", *words(settings, part, agent, seed, run)], check=True
    )
    found = read_comparison(run / "result.json")
    if found is None:
        raise ValueError(f"{run} holds no comparison")
    rows = tuple(
        row.model_copy(update={"method": row.method.replace(agent, "agent")}) for row in found.rows
    )
    refused = tuple(
        f"{one.model} {one.budget} {one.method.replace(agent, 'agent')}: {one.reason}"
        for one in found.refused
    )
    judged = load_agent(training.out / "agent")
    paid = () if part.agent else tuple(returns(training, part))
    return Unit(
        part=name,
        seed=seed,
        commit=", ".join(commits),
        machine=_machine(settings),
        rows=rows,
        refused=refused,
        ranking=judged.settings.ranking,
        ppo_episodes=judged.trained_on["episodes"],
        returns=paid,
    )


def _signed(path: Path) -> list[str]:
    """Add the commit at work to those that have worked on a unit, and return them all."""
    before = path.read_text().split() if path.exists() else []
    commits = list(dict.fromkeys([*before, COMMIT]))
    write_text(path, "\n".join(commits) + "\n")
    return commits


def _machine(settings: AgentBenchSettings) -> str:
    device = describe_device(torch.device("cpu"))
    return f"{device.name}, {settings.workers} x {settings.threads} threads"


def words(settings: AgentBenchSettings, part: Part, agent: str, seed: int, run: Path) -> list[str]:
    """Return the command that compares an agent with its rivals."""
    evaluated = [f"{agent}@0"]
    tuning = "--finetune-steps 0 --no-quick-finetune"
    if part.searches:
        evaluated += [f"{agent}@0/{len(RIVALS)}", f"{agent}@20", f"{agent}@200", *SEARCHES]
        tuning = ""
    flags = (
        f"compare {part.task} --seeds 1 --seed {seed} --evaluations {PROFILE} {tuning} "
        f"--workers {settings.workers} --threads {settings.threads} --out {run}"
    )
    lists = [
        "--model",
        *part.models,
        "--budget",
        *BUDGETS,
        "--methods",
        *RIVALS[1:],
        *CONTROLS,
        *evaluated,
    ]
    return [*flags.split(), *lists]


def returns(training: train_agent.Options, part: Part) -> list[Return]:
    """Return what policies are paid on the networks of the pool that were held out."""
    explorer, agent = train_agent.Explorer(training), load_agent(training.out)
    rng, rewards = np.random.default_rng(training.seed), train_agent.REWARDS
    entries = split(read(training.pool), part.held_out).held_out
    found = []
    for (entry,) in track(entries, "paying policies"):
        for problem in explorer.problems(entry):
            one = Return(
                network=entry.name,
                budget=str(problem.budget),
                trained=of_policy(problem, agent, rewards),
                shuffled=of_shuffled(problem, agent, rewards, rng, DRAWS),
                unwatched=None
                if problem.dynamics is None
                else of_unwatched(problem, agent, rewards),
                chance=of_chance(problem, rewards, rng, DRAWS),
            )
            found.append(one)
    return found


if __name__ == "__main__":
    resumable.run(main, AgentBenchSettings, __doc__)
