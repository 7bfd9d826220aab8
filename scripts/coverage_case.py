"""One network of the coverage benchmark, step by step: build, trace, prune, and every check."""

from __future__ import annotations

import re
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from coverage_job import Progress
from coverage_models import family_of, images, smallest_network
from torch import nn

import rlprune
from rlprune.errors import FOREIGN_ERRORS, ModelError, RLPruneError, TraceError, first_line
from rlprune.graph.group_graph import GroupGraph, LeftOut

ALONE_ABOVE = 150_000_000  # parameters
_EXPECTED = "it is the output of the model"


@dataclass
class Case:
    """A network, its graph and its halved self.

    Attributes:
        spec: of the architecture.
        size: of the images.
        model: dense.
        graph: of the dense network.
        plan: half of every group.
        small: the plan, applied.
        folder: scratch space.
        progress: to tell what was found.
    """

    spec: str
    size: int
    model: nn.Module
    graph: GroupGraph
    plan: rlprune.Plan
    small: nn.Module
    folder: Path
    progress: Progress

    def note(self, **numbers: float) -> None:
        """Tell what a check measured."""
        self.progress.tell(numbers={name: float(f"{n:.4g}") for name, n in numbers.items()})


def run_case(
    spec: str, told: Path, checks: Mapping[str, Callable[[Case], str]], *, alone: bool
) -> None:
    """Measure one network and tell every step."""
    progress = Progress(told)
    progress.begin("build")
    model, size = smallest_network(spec)
    params = sum(parameter.numel() for parameter in model.parameters())
    progress.tell(image_size=size, params=params)
    if params > ALONE_ABOVE and not alone:
        progress.tell(deferred=True)
        return
    progress.tell(family=family_of(model, images(2, size)))
    progress.begin("trace")
    try:
        graph = rlprune.trace(model, images(2, size))
    except (ModelError, TraceError) as error:
        progress.tell(status="refused", reason=str(error), log=last_lines(error))
        return
    progress.tell(**described(graph))
    progress.begin("prune")
    plan = rlprune.Plan.uniform(graph, kept=0.5)
    progress.tell(
        params_left=graph.params(plan) / graph.params(), macs_left=graph.macs(plan) / graph.macs()
    )
    small = plan.apply(model).eval()
    with tempfile.TemporaryDirectory() as folder:
        case = Case(spec, size, model, graph, plan, small, Path(folder), progress)
        for name, check in checks.items():
            progress.begin(name)
            progress.tell(checks={name: _result(case, name, check)})
    progress.begin("end")


def described(graph: GroupGraph) -> dict[str, Any]:
    """Return what `Measured` says of a graph."""
    floors = np.where(graph.is_block, graph.widths, graph.floors)
    return {
        "groups": sum(group.kind != "block" for group in graph.groups),
        "heads": sum(group.kind == "heads" for group in graph.groups),
        "blocks": len(graph.blocks),
        "left_out": len(graph.left_out),
        "left_out_first": [f"{o.name}: {o.reason}" for o in sorted(graph.left_out, key=_rank)[:3]],
        "left_out_reasons": Counter(re.sub(r"'[^']*'", "_", o.reason) for o in graph.left_out),
        "prunable_macs": 1 - float(graph.macs_of(floors)) / max(1, graph.macs()),
    }


def _rank(left_out: LeftOut) -> tuple[bool, bool]:
    """Channels come first, then blocks, and what no network can lose last."""
    return left_out.reason == _EXPECTED, left_out.name.endswith("(block)")


def _result(case: Case, name: str, check: Callable[[Case], str]) -> str:
    try:
        return check(case)
    except (*FOREIGN_ERRORS, RLPruneError) as error:
        case.progress.tell(log=[f"[{name}]", *last_lines(error)])
        return f"FAIL: {type(error).__name__}: {first_line(error)}"


def last_lines(error: BaseException) -> list[str]:
    """Return the end of the traceback of what caused an error, without paths."""
    cause = error.__cause__ or error
    lines = "".join(traceback.format_exception(cause)).splitlines()
    return [line for line in lines if not line.startswith("  File")][-12:]
