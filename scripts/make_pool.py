"""Make a pool: many small networks of sampled architectures, each trained briefly.

    python scripts/make_pool.py --out runs/pool --networks 240 --minutes 120 --workers 2

The same command goes on where it was interrupted; more networks may be asked for than before. The
n-th network is always the same one.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable
from functools import cache
from itertools import chain, takewhile
from pathlib import Path
from statistics import median

import resumable
import torch
from pydantic import Field
from train_dense import Result, train

from rlprune.compare.processes import results, tasks_for
from rlprune.config import MOST_SEED, Settings
from rlprune.data.splits import DataSplits
from rlprune.errors import DynamicsError, RunError
from rlprune.machine import check_threads, keep_freed_memory
from rlprune.pool.data import first_of, pool_data
from rlprune.pool.folder import Content, Entry, Record, read_entry, write
from rlprune.pool.jobs import BriefTraining, Job, PoolPlan, Task
from rlprune.pool.resume import PoolWarning, finished
from rlprune.pool.sampling import FAMILIES
from rlprune.pool.specs import DEPTHS
from rlprune.progress import silence

_SECONDS = 60  # of a minute


class Options(Settings):
    """What the pool holds, and how long to work on it."""

    out: Path
    """Folder of the pool, new or to go on with."""
    networks: int = Field(default=240, ge=1)
    """How many; those that do not learn count."""
    data: tuple[str, ...] = Field(default=("digits", "fashion-mnist-14"), min_length=1)
    """Tasks, in turn: what `rlprune --data` takes; NAME-SIZE resizes the images of a built-in."""
    families: tuple[str, ...] = Field(default=FAMILIES, min_length=1)
    """Families, in turn."""
    minutes: float = Field(default=120, gt=0)
    """After so many no further network is begun."""
    workers: int = Field(default=1, ge=1)
    """Processes that train; more give the same networks sooner."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of each."""
    seed: int = Field(default=0, ge=0, lt=MOST_SEED)
    """Of everything."""
    images: int = Field(default=8192, ge=1)
    """Training images, at most."""
    presented: int = Field(default=24576, ge=1)
    """Images that a network sees, counted as often as it sees them."""
    least_accuracy: float = Field(default=0.7, ge=0, le=1)
    """On validation; a network below has failed, which is recorded."""
    data_dir: Path | None = None
    """Where data files are looked for and downloaded to."""


class Trainer:
    """Trains networks and writes them.

    Args:
        pool: folder that they go to.
        data_dir: see `pool_data`.
    """

    def __init__(self, pool: Path, data_dir: Path | None) -> None:
        silence()  # one line a network is enough
        self._pool = pool
        self._data = cache(lambda name: pool_data(name, data_dir))

    def make(self, job: Job) -> Entry:
        """Train a network and write it, or that it failed."""
        started = time.process_time()
        data: DataSplits = self._data(job.data)
        training = job.training
        epochs = training.epochs(len(data.train))
        few = first_of(data, training.images, training.validation_images)
        result: Result | None = None
        try:
            result = train(job.model, few, epochs, job.seed, training.learning_rate, shift=0)
            failure = _failure(result.value, training)
        except DynamicsError as error:
            failure = str(error)
        content = None
        if result is not None and failure is None:
            content = Content.of(result.module, result.dynamics)
        record = Record(
            job=job,
            accuracy=None if result is None else result.value,
            failure=failure,
            cpu_seconds=time.process_time() - started,
            weights=None if content is None else content.digest,
        )
        write(self._pool, record, content)
        return read_entry(self._pool / job.name)


def main(options: Options) -> None:
    """Make the networks that are not there yet."""
    check_threads(options.threads, options.workers)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    plan = plan_of(options)
    jobs = [plan.job(number) for number in range(options.networks)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PoolWarning)
        known = finished(options.out, jobs)
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    print(f"{len(known)} of {len(jobs)} networks are there")
    made = dict(known)
    until = time.monotonic() + options.minutes * _SECONDS
    missing = (job for job in jobs if job.number not in known)
    begun = takewhile(lambda _: time.monotonic() < until, missing)
    with tasks_for(Trainer, (options.out, options.data_dir), options.workers) as tasks:
        for job, entry in results(tasks, "make", begun):
            made[job.number] = entry
            print(f"{len(made)} of {len(jobs)}: {line(entry)}", flush=True)
    print(summary(made[number] for number in sorted(made)))
    if len(made) < len(jobs):
        print(f"{len(jobs) - len(made)} networks are missing; the same command goes on")


def plan_of(options: Options) -> PoolPlan:
    """Return what the options stand for.

    Raises:
        RLPruneError: for data that cannot be loaded, and names that are given twice.
    """
    for flag, names in (("families", options.families), ("data", options.data)):
        if len(set(names)) < len(names):
            raise RunError(f"--{flag} {' '.join(names)} names one twice; name each once")
    tasks = (Task.of(name, pool_data(name, options.data_dir)) for name in options.data)
    training = BriefTraining(
        images=options.images,
        presented=options.presented,
        least_accuracy=options.least_accuracy,
        threads=options.threads,
    )
    return PoolPlan(options.families, tuple(tasks), options.seed, training)


def line(entry: Entry) -> str:
    """Say what came of one network; its seconds are those of the CPU."""
    record = entry.record
    reached = "no accuracy" if record.accuracy is None else f"accuracy {record.accuracy:.4f}"
    failed = "" if record.failure is None else f", failed: {record.failure}"
    depth = record.job.spec.depth
    return f"{entry.name}: {depth} layers, {reached}, {record.cpu_seconds:.1f} s{failed}"


def summary(entries: Iterable[Entry]) -> str:
    """Return a line for each family and task, and how many networks of each depth learned."""
    groups: dict[str, list[Record]] = {}
    for entry in entries:
        job = entry.record.job
        groups.setdefault(f"{job.spec.family} on {job.tag}", []).append(entry.record)
    lines = []
    for name, records in sorted(groups.items()):
        learned = [r.accuracy for r in records if r.has_learned and r.accuracy is not None]
        spread = f", accuracy {min(learned):.3f} to {max(learned):.3f}" if learned else ""
        seconds = median(record.cpu_seconds for record in records)
        counts = f"{len(learned)} of {len(records)} learned"
        lines.append(f"{name}: {counts}{spread}, median {seconds:.1f} s of CPU")
    depths = [r.job.spec.depth_name for r in chain.from_iterable(groups.values()) if r.has_learned]
    lines.append(", ".join(f"{depths.count(name)} {name}" for name in DEPTHS))
    return "\n".join(lines)


def _failure(accuracy: float, training: BriefTraining) -> str | None:
    """Say why a network cannot be used."""
    if accuracy >= training.least_accuracy:
        return None
    return f"accuracy {accuracy:.4f} is below {training.least_accuracy:g}"


if __name__ == "__main__":
    resumable.run(main, Options, __doc__)
