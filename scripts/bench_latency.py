"""How far to trust latency: ratios on a loaded machine, and predicted against measured.

- A network against itself, while another process keeps every core busy.
- The staircase of this device: what rounding channels up costs.
- Plans at random budgets of MACs, with the widths that a search would use, rounded to the device's
  granularity or less where a group is narrow: their latency as predicted by a table and as
  measured, each beside the dense network.
- Plans asked for a latency: what they measure once more, after they were confirmed.
- What a table takes to measure, in forward passes of the dense network.

    python scripts/bench_latency.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
import tyro
from bench import BenchSettings, Row, publish, spread
from scipy.stats import spearmanr
from torch import Tensor, nn

from rlprune.api import REPORT_ROUND_MS, REPORT_ROUNDS
from rlprune.config import LatencySettings
from rlprune.cost.analytic import Widths
from rlprune.cost.budget import Budget
from rlprune.cost.confirm import confirm
from rlprune.cost.costs import Costs, rounding_of
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.latency.clock import pick_clock
from rlprune.latency.end_to_end import EndToEnd
from rlprune.latency.granularity import measure_granularity
from rlprune.latency.measure import measure_table
from rlprune.latency.runtime import prepare
from rlprune.latency.table import OperatorTable
from rlprune.latency.timing import TOLERANCE, Ratio, compare
from rlprune.models.registry import build_model
from rlprune.surgery.plan import Plan

CPU = torch.device("cpu")
REPEATS, WALL_REPEATS, PLANS, FREE_PLANS = 20, 5, 50, 10
ASKED_PLANS = 3
SELF_BATCH = 8
MOST_ERROR, LEAST_RANK = 0.05, 0.95
KEPT_MACS = (0.2, 0.9)
SCATTER, MOST_BLOCKS = 0.5, 0.3
ASKED, LEAST_USED = 0.6, 0.57


@dataclass(frozen=True)
class Case:
    """One network, with as many images at once as make a forward pass last long enough."""

    spec: str
    image_size: int
    classes: int
    batch: int

    @property
    def settings(self) -> LatencySettings:
        """The defaults, at this batch size."""
        return LatencySettings(batch_size=self.batch)

    def build(self) -> tuple[nn.Module, Tensor]:
        """Return the network with random weights, and a batch."""
        torch.manual_seed(0)
        model = build_model(
            self.spec, in_channels=3, num_classes=self.classes, image_size=self.image_size
        )
        return model.eval(), torch.randn(self.batch, 3, self.image_size, self.image_size)


CASES = (
    Case("resnet20", 32, 10, 64),
    Case("mobilenetv2", 32, 10, 64),
    Case("torchvision:resnet50", 224, 1000, 1),
)


@contextmanager
def busy_machine() -> Iterator[None]:
    """Keep every core busy with a process of its own."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def self_ratios(threads: int, repeats: int) -> tuple[list[Ratio], float]:
    """Compare ResNet-20 with itself; return the ratios and the seconds of one comparison."""
    model, batch = Case("resnet20", 32, 10, SELF_BATCH).build()
    torch.set_num_threads(threads)
    one, other = (prepare(model, batch, "eager") for _ in range(2))
    start = time.perf_counter()
    found = [compare(one, other, LatencySettings(), pick_clock(CPU)) for _ in range(repeats)]
    return found, (time.perf_counter() - start) / repeats


def on_a_busy_machine(repeats_by_count: Mapping[int, int]) -> list[Row]:
    """Measure equal networks: on one thread by its processor time, on more by wall time."""
    rows = []
    for count, repeats in repeats_by_count.items():
        with busy_machine():
            ratios, seconds = self_ratios(count, repeats)
        case = f"resnet20 against itself, {count} thread{'s' * (count > 1)}, all cores busy"
        values = [ratio.value for ratio in ratios]
        ok = all(abs(value - 1.0) <= TOLERANCE for value in values)
        rows += [
            spread(case, "kept latency", values, f"1 +- {TOLERANCE:g}", ok, median),
            spread(
                case,
                "intervals that contain 1",
                [float(sum(r.low <= 1.0 <= r.high for r in ratios)) / len(ratios)],
            ),
            spread(case, "rounds", [float(ratio.rounds) for ratio in ratios], centre=median),
            spread(case, "ratios said to be noisy", [float(sum(r.noisy for r in ratios))]),
            spread(case, "seconds per ratio", [seconds]),
        ]
    torch.set_num_threads(1)
    return rows


def staircase() -> tuple[int, list[Row]]:
    """Measure the granularity of this device."""
    found = measure_granularity(CPU, LatencySettings())
    rows = [
        spread(f"rounding up to multiples of {m}", "latency after / before", r, centre=median)
        for m, r in found.ratios.items()
    ]
    return found.channels, [*rows, spread("granularity", "channels", [found.channels])]


def random_widths(costs: Costs, generator: np.random.Generator) -> Widths:
    """Decode a random allocation at a random budget of MACs."""
    graph = costs.graph
    allocation = np.exp(SCATTER * generator.normal(size=len(graph.groups)))
    gone = generator.random(len(graph.groups)) < MOST_BLOCKS * generator.random()
    allocation = np.where(graph.is_block & gone, 0.0, allocation)
    kept = generator.uniform(max(costs.reachable("macs"), KEPT_MACS[0]), KEPT_MACS[1])
    return Budget((("macs", kept),)).decode(costs, allocation)


@dataclass(frozen=True)
class Checked:
    """Plans, predicted and measured kept latency."""

    predicted: list[float]
    measured: list[float]

    @property
    def errors(self) -> list[float]:
        """Absolute error relative to the measured ratio."""
        pairs = zip(self.predicted, self.measured, strict=True)
        return [abs(p / m - 1.0) for p, m in pairs]

    @property
    def rank(self) -> float:
        """Spearman's correlation."""
        return float(spearmanr(self.predicted, self.measured).statistic)


def check(
    model: nn.Module, graph: GroupGraph, table: OperatorTable, meter: EndToEnd, costs: Costs, n: int
) -> Checked:
    """Measure fresh plans and predict them."""
    generator = np.random.default_rng(77)
    widths = [random_widths(costs, generator) for _ in range(n)]
    measured = [meter.kept(Plan.from_widths(graph, one).apply(model)).value for one in widths]
    return Checked([float(one) for one in table.kept(widths)], measured)


def predicted_against_measured(case: Case, granularity: int, plans: int) -> list[Row]:
    """Measure a table of one network, then plans that it has never seen."""
    model, batch = case.build()
    graph = trace(model, batch[:2])
    start = time.perf_counter()
    rounding = rounding_of(graph, granularity)
    table = measure_table(
        model, graph, batch, case.settings, case.spec, multiple=granularity, round_to=rounding
    )
    seconds = time.perf_counter() - start
    meter = EndToEnd(model, batch, case.settings)
    rounded = check(model, graph, table, meter, Costs(graph, round_to=rounding), plans)
    free = check(model, graph, table, meter, Costs(graph), min(plans, FREE_PLANS))
    error, name = median(rounded.errors), f"{case.spec}, batch {case.batch}"
    return [
        spread(
            f"{name}, rounded",
            "error of predicted latency",
            rounded.errors,
            f"at most {MOST_ERROR:g}",
            error <= MOST_ERROR,
            median,
        ),
        Row(
            f"{name}, rounded",
            "Spearman's correlation",
            rounded.rank,
            rounded.rank,
            rounded.rank,
            plans,
            f"at least {LEAST_RANK:g}",
            rounded.rank >= LEAST_RANK,
        ),
        spread(f"{name}, rounded", "kept latency", rounded.measured),
        spread(f"{name}, any widths", "error of predicted latency", free.errors, centre=median),
        spread(f"{name}, table", "dense forward passes", [table.passes]),
        spread(f"{name}, table", "seconds", [seconds]),
        *asked_for(case, model, batch, Costs(graph, table, rounding), ASKED_PLANS),
    ]


def asked_for(case: Case, model: nn.Module, batch: Tensor, costs: Costs, plans: int) -> list[Row]:
    """Ask for a latency, as `rlprune apply` does; measure what comes out once more, afresh."""
    graph, budget = costs.graph, Budget.parse(f"latency={ASKED}")
    report = case.settings.model_copy(update={"rounds": REPORT_ROUNDS, "round_ms": REPORT_ROUND_MS})
    meter = EndToEnd(model, batch, report)

    def measure(plan: Plan) -> Ratio:
        return meter.kept(plan.apply(model))

    generator = np.random.default_rng(5)
    attempts, again = [], []
    for _ in range(plans):
        allocation = np.exp(0.3 * generator.normal(size=len(graph.groups)))
        widths = budget.decode(costs, np.where(graph.is_block, 1.0, allocation))
        confirmed = confirm(Plan.from_widths(graph, widths), budget, costs, measure)
        attempts.append(float(confirmed.attempts))
        again.append(EndToEnd(model, batch, report).kept(confirmed.plan.apply(model)).value)
    name = f"{case.spec}, batch {case.batch}, plans asked for {budget}"
    ok = all(LEAST_USED <= value <= ASKED for value in again)
    target = f"{LEAST_USED:g} to {ASKED:g}"
    return [
        spread(name, "kept latency, measured again", again, target, ok, median),
        spread(name, "plans measured before", attempts, centre=median),
    ]


def main(settings: BenchSettings) -> None:
    """Measure on one thread, and equal networks also on `--threads`."""
    torch.set_num_threads(1)
    cases, plans = (CASES[:1], 8) if settings.quick else (CASES, PLANS)
    # By wall time a ratio takes far longer, and is worth less.
    repeats = {1: 5} if settings.quick else {settings.threads: WALL_REPEATS, 1: REPEATS}
    rows = on_a_busy_machine(repeats)
    granularity, steps = staircase()
    rows += steps
    for case in cases:
        rows += predicted_against_measured(case, granularity, plans)
        print(f"measured {case.spec}", flush=True)
    notes = (
        "Errors, ratios and rounds are medians (in the column of means), with least and most. Kept "
        "latency = latency / latency of the dense network in the same rounds. One thread where "
        "nothing else is said, whose processor time is the clock; wall time for more."
    )
    publish("latency", settings, rows, notes)


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
