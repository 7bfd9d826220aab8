"""Results of the coverage benchmark: a row per network, their summary, JSON and tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

from bench import Row, cells, heading, result, spread
from pydantic import BaseModel, ConfigDict

Check = Literal["params", "macs", "masked", "resolution", "batch", "backward", "reload", "onnx"]
CHECKS: tuple[Check, ...] = get_args(Check)
Status = Literal["ok", "refused", "crash", "hang"]
Family = Literal["convolutional", "transformer"]

MOST_PARAMS_LEFT = 0.65

INFORMATION: tuple[Check, ...] = ("resolution",)
"""Checks that say more than was asked for: a forward may take another path at another size."""


class Measured(BaseModel):
    """One network.

    Attributes:
        model: what to type after `--model`.
        family: see `family_of`.
        image_size: of the square images.
        params: of the dense network.
        groups: channels and heads that can be pruned.
        heads: groups whose units are attention heads.
        blocks: residual blocks that can be bypassed.
        left_out: groups and blocks that cannot be pruned.
        left_out_first: the first of them, with reasons.
        left_out_reasons: how many are left out for each reason, without names.
        prunable_macs: share of the MACs that goes with every group at its floor, all blocks kept.
        params_left: share left with half of every group.
        macs_left: share left with half of every group.
        checks: `ok`, `n/a` or `FAIL: why`.
        export: whether the exported file takes any batch size.
        numbers: what the checks measured.
        seconds: per step.
        status: whether the network was traced and halved.
        reason: why not.
        log: the last lines of what went wrong.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    family: Family | None = None
    image_size: int = 0
    params: int = 0
    groups: int = 0
    heads: int = 0
    blocks: int = 0
    left_out: int = 0
    left_out_first: list[str] = []
    left_out_reasons: dict[str, int] = {}
    prunable_macs: float = 0.0
    params_left: float = 1.0
    macs_left: float = 1.0
    checks: dict[str, str] = {}
    export: str = ""
    numbers: dict[str, float] = {}
    seconds: dict[str, float] = {}
    status: Status = "ok"
    reason: str = ""
    log: list[str] = []

    @property
    def source(self) -> str:
        """Where the architecture comes from."""
        return self.model.partition(":")[0]

    def has(self, checks: Sequence[str]) -> bool:
        """Whether these checks need not be made again."""
        return self.status != "ok" or set(checks) <= set(self.checks)

    @property
    def problems(self) -> list[str]:
        """Why the network does not count as supported."""
        if self.status != "ok":
            return [f"{self.status}: {self.reason}"]
        failed = [
            f"{name} {result.removeprefix('FAIL: ')}"
            for name, result in self.checks.items()
            if result.startswith("FAIL") and name not in INFORMATION
        ]
        if self.params_left > MOST_PARAMS_LEFT:
            failed.insert(0, f"{self.params_left:.0%} of the parameters are left")
        return failed


def summary(models: Sequence[Measured]) -> list[Row]:
    """Return shares of networks, by source and family and in all."""
    rows = []
    cases: dict[str, list[Measured]] = {}
    for model in models:
        cases.setdefault(f"{model.source}, {model.family or 'unknown'}", []).append(model)
    for case, members in [*sorted(cases.items()), ("all", list(models))]:
        rows.append(_share(case, "supported", [not model.problems for model in members]))
        for check in CHECKS:
            results = [m.checks[check] for m in members if check in m.checks]
            applies = [r.startswith("ok") for r in results if not r.startswith("n/a")]
            rows += [_share(case, check, applies)] if applies else []
        times = [m.seconds["trace"] for m in members if "trace" in m.seconds]
        rows += [spread(case, "median trace, s", times, centre=median)] if times else []
    return rows


def _share(case: str, metric: str, values: Sequence[bool]) -> Row:
    share = sum(values) / max(1, len(values))
    return Row(case, metric, share, share, share, len(values), "", None)


def read(path: Path) -> dict[str, Measured]:
    """Return the networks of a result by name, none if there is no such file."""
    if not path.is_file():
        return {}
    models = [Measured(**model) for model in json.loads(path.read_text())["models"]]
    return {model.model: model for model in models}


def write(path: Path, markdown: Path, models: Sequence[Measured]) -> None:
    """Write the result and its tables."""
    rows = summary(models)
    document = result(rows) | {
        "unsupported": {m.model: m.problems for m in models if m.problems},
        "models": [model.model_dump() for model in models],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n")
    partial.replace(path)
    markdown.write_text(tables(document, rows, models))


def tables(document: dict[str, Any], rows: Sequence[Row], models: Sequence[Measured]) -> str:
    """Return the result for people."""
    notes = (
        f"Networks with random weights, half of every group removed. Supported: at most "
        f"{MOST_PARAMS_LEFT:.0%} of the parameters are left and no check fails; a check that does "
        "not apply (n/a) does not fail. `resolution` repeats `masked` at another image size than "
        "the traced one and is information."
    )
    lines = [
        *heading("coverage", document, notes, "one thread per network"),
        "| networks | metric | value | low | high | n |",
        "|---|---|---|---|---|---|",
        *(f"| {cells(row)} |" for row in rows),
        *["", "## Not supported", "", "| network | why |", "|---|---|"],
        *(f"| {m.model} | {'; '.join(map(_cell, m.problems))} |" for m in models if m.problems),
        *["", "## All networks", "", _line(_HEADINGS), "|" + "---|" * len(_HEADINGS)],
        *(_line(_of_one(model)) for model in models),
    ]
    return "\n".join(lines) + "\n"


_HEADINGS = (
    *("network", "family", "image", "groups", "heads", "blocks", "left out", "prunable MACs"),
    *("params left", "MACs left", *CHECKS, "batch of the export", "trace, s"),
)


def _of_one(m: Measured) -> list[object]:
    shares = [f"{share:.1%}" for share in (m.prunable_macs, m.params_left, m.macs_left)]
    checks = [_cell(m.checks.get(check, ""))[:60] for check in CHECKS]
    units = [m.groups, m.heads, m.blocks, m.left_out]
    export = _cell(m.export.partition(":")[0])
    first = [m.model, m.family or m.status, m.image_size]
    return [*first, *units, *shares, *checks, export, m.seconds.get("trace", "")]


def _line(values: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, values)) + " |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
