"""What it costs to watch a training, and to probe a network afterwards.

Two copies of a network learn from the same random images, batch 128, SGD with momentum. They take
turns of about a second, whole rounds from one look of the monitor to the next, one copy watched and
the other not; which comes first changes from turn to turn. The ratio of both times is taken within
a turn. Times are the processor's, over all threads, so that what else the machine
does counts little. A probe is that of a finished network, on 512 samples.

    python scripts/bench_dynamics.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import cycle
from statistics import median

import torch
import tyro
from bench import BenchSettings, Row, noise, publish, spread
from torch import Tensor

from rlprune.dynamics.monitor import EVERY, Monitor
from rlprune.dynamics.probe import HeldOut, probe
from rlprune.evaluate.tasks import Classification
from rlprune.models.registry import build_model

NETWORKS = {"mlp": 8, "resnet20": 14, "plain_cnn": 28, "mobilenetv2": 14}
"""Names and image sizes, from short steps to long ones; a quick run measures the first two."""

IMAGES, CLASSES, BATCH = 1024, 10, 128
MOST = 0.15
TURN = 1.0
"""Seconds."""

medians = partial(spread, centre=median)


class Learner:
    """A network that learns, watched or not.

    Args:
        name: of the network.
        size: of its images.
        every: steps between two looks of its monitor; 0 for none.
    """

    def __init__(self, name: str, size: int, every: int) -> None:
        torch.manual_seed(0)
        self.data = noise(IMAGES, size, CLASSES)
        self.model = build_model(name, in_channels=3, num_classes=CLASSES, image_size=size).train()
        self._optimizer = torch.optim.SGD(self.model.parameters(), 0.01, momentum=0.9)
        self._monitor = Monitor(self.model, steps=10**6, every=every) if every else None
        self._batches = cycle(list(self.data.train.loader(BATCH)))

    def learn(self, steps: int) -> float:
        """Take steps and return the seconds that they took."""
        start = time.process_time()
        for _ in range(steps):
            inputs, targets = next(self._batches)
            self._step(inputs, targets)  # type: ignore[arg-type]
        return time.process_time() - start

    def _step(self, inputs: Tensor, targets: Tensor) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        loss = Classification().loss(self.model(inputs), inputs, targets)
        torch.autograd.backward(loss)
        if self._monitor is not None:
            self._monitor.step(loss)
        self._optimizer.step()


def watching(name: str, size: int, turns: int) -> list[Row]:
    """Compare steps with and without a monitor."""
    plain, watched = Learner(name, size, every=0), Learner(name, size, every=EVERY)
    for one in (plain, watched):
        one.learn(EVERY)  # warms up
    rounds = max(1, round(TURN / watched.learn(EVERY)))
    overheads, steps = [], []
    for turn in range(turns):
        both = [(plain, "plain"), (watched, "watched")]
        seconds = {kind: one.learn(rounds * EVERY) for one, kind in both[:: 1 if turn % 2 else -1]}
        overheads.append(seconds["watched"] / seconds["plain"] - 1)
        steps.append(1000 * seconds["plain"] / (rounds * EVERY))
    target, ok = f"less than {MOST:g}", median(overheads) < MOST
    case = f"{name}, {size} x {size}"
    return [
        medians(case, "ms per step", steps),
        medians(f"{case}, monitor", "share added", overheads, target, ok),
        medians(f"{case}, probe", "seconds", probing(watched)),
    ]


def probing(learner: Learner) -> list[float]:
    """Time one probe."""
    held_out = HeldOut.of(learner.model, learner.data, Classification())
    return [timed(lambda: probe(held_out))]


def timed(task: Callable[[], object]) -> float:
    """Return the seconds of a task."""
    start = time.process_time()
    task()
    return time.process_time() - start


def main(settings: BenchSettings) -> None:
    """Measure all networks."""
    torch.set_num_threads(settings.threads)
    turns, count = (4, 2) if settings.quick else (15, len(NETWORKS))
    rows = [row for case in [*NETWORKS.items()][:count] for row in watching(*case, turns)]
    notes = (
        f"CPU time that a monitor adds to training steps of {BATCH} images, looking every {EVERY} "
        "steps, and that of a probe; medians, with the least and the largest of all turns."
    )
    publish("dynamics", settings, rows, notes)


if __name__ == "__main__":
    main(tyro.cli(BenchSettings, description=__doc__))
