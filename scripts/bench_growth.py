"""How the cost of an episode grows with depth and width, and memory with the number of episodes.

python scripts/bench_growth.py
"""

from __future__ import annotations

import resource
import time
from statistics import median

import matplotlib
import numpy as np
import torch
import tyro
from bench import BENCHMARKS, BenchSettings, Row, publish, spread
from episodes import CLASSES, actions_of, build, environment, episode, prepare
from torch import Tensor, nn

from rlprune.evaluate.scoring import Scorer
from rlprune.models.resnet import ResNet

matplotlib.use("agg")
from matplotlib import pyplot as plt

MOST_GROWTH, MOST_GROWN_MIB = 1.1, 16.0


def growth(quick: bool) -> list[Row]:
    """Time episodes without their forward passes against depth and width, and draw them."""
    depths = [3, 5, 7, 9, 18][: 2 if quick else None]
    factors = [0.5, 1, 2, 4][: 2 if quick else None]
    deep = {f"ResNet-{6 * n + 2}": overhead_of(ResNet(n, 3, CLASSES), 8) for n in depths}
    wide = {
        f"ResNet-20 x{f:g}": overhead_of(
            ResNet(3, 3, CLASSES, [int(f * w) for w in (16, 32, 64)]), 8
        )
        for f in factors
    }
    groups = np.log([float(count) for count, _, _ in deep.values()])
    costs = np.log([seconds for _, seconds, _ in deep.values()])
    slope = float(np.polyfit(groups, costs, 1)[0])
    rows = [
        spread(
            "growth: overhead against the number of groups",
            "exponent",
            [slope],
            f"at most {MOST_GROWTH:g}",
            slope <= MOST_GROWTH,
        )
    ]
    for name, (count, seconds, forward) in {**deep, **wide}.items():
        rows.append(spread(f"growth: {name}, {count} groups, overhead", "ms", [1e3 * seconds]))
        rows.append(spread(f"growth: {name}, own pass of 64 images", "ms", [1e3 * forward]))
    if not quick:
        _draw(deep, wide)
    return rows


def overhead_of(model: nn.Module, repeats: int) -> tuple[int, float, float]:
    """Return groups, seconds of an episode without its passes, and seconds of these."""
    torch.manual_seed(0)
    bench = prepare("growth", model.eval(), 32, 64)
    env = environment(bench)
    spent: list[float] = []
    scorer = bench.problem.evaluator.scorer
    assert isinstance(scorer, Scorer)  # noqa: S101 - what is inside its passes is left out
    run = scorer._run

    def watched(small: nn.Module, batch: Tensor) -> Tensor:
        start = time.perf_counter()
        outputs: Tensor = run(small, batch)
        spent.append(time.perf_counter() - start)
        return outputs

    vars(scorer)["_run"] = watched
    episode(bench, env, actions_of(bench))
    rest, inside = [], []
    for _ in range(repeats):
        spent.clear()
        rest.append(episode(bench, env, actions_of(bench)).seconds - sum(spent))
        inside.append(sum(spent))
    return len(bench.graph.groups), median(rest), median(inside)


def memory(quick: bool) -> list[Row]:
    """Measure by how much the process grows while it walks through distinct plans."""
    torch.manual_seed(0)
    bench = prepare("memory", build("plain_cnn", 8), 8, 16)
    env = environment(bench)
    warm, count = (200, 1000) if quick else (2000, 10_000)
    for _ in range(warm):
        episode(bench, env, actions_of(bench, largest=1.0))
    before = _peak_mib()
    known = bench.problem.ledger.evaluations
    for _ in range(count):
        episode(bench, env, actions_of(bench, largest=1.0))
    grown = _peak_mib() - before
    return [
        spread(
            f"memory: {count} episodes after {warm}",
            "evaluations",
            [float(bench.problem.ledger.evaluations - known)],
        ),
        spread(
            f"memory: {count} episodes after {warm}",
            "MiB grown",
            [grown],
            f"at most {MOST_GROWN_MIB:g}",
            grown <= MOST_GROWN_MIB,
        ),
    ]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _draw(*curves: dict[str, tuple[int, float, float]]) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
    for axis, curve, title in zip(axes, curves, ("depth", "width of ResNet-20"), strict=True):
        names = [name.split()[-1].removeprefix("ResNet-") for name in curve]
        axis.plot(names, [1e3 * s for _, s, _ in curve.values()], "o-", label="all else")
        axis.plot(
            names, [1e3 * f for _, _, f in curve.values()], "s--", label="own pass, 64 images"
        )
        axis.set(
            title=f"cost of an episode against {title}", ylabel="ms", yscale="log", xlabel=title
        )
        axis.legend()
    figure.tight_layout()
    figure.savefig(BENCHMARKS / "growth.png", dpi=110)
    plt.close(figure)


def main(settings: BenchSettings) -> None:
    """Measure on one thread."""
    torch.set_num_threads(1)
    rows = [*growth(settings.quick), *memory(settings.quick)]
    notes = (
        "One thread; float32; images of 32 x 32; one pass over 64 of them per evaluation. Overhead "
        "is the episode without its passes, the median of 8. Memory: a plain CNN on small images; "
        "what a distinct plan leaves behind is its entry in the evaluator's cache."
        "\n\n![growth](growth.png)"
    )
    publish("growth", settings, rows, notes)


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
