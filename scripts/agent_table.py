"""What the study of the agent claims: rows of `bench_agent` from what its parts found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from bench import Row, interval
from pydantic import BaseModel, ConfigDict

from rlprune.compare.cells import Row as Cell
from rlprune.compare.records import STAGES
from rlprune.compare.statistics import Estimate, estimate

AGENT = "agent"
RIVALS = ("uniform", "global-l2", "global-taylor", "sensitivity", "knapsack", "fewest-params")
"""What needs no search."""

HEURISTIC = "heuristic"
CONTROLS = (HEURISTIC, "guided@0")
"""What the agent starts from, and the same search without a policy, at the same cost."""
RIVAL_SEARCHES = ("evolution@200", "cmaes@200")
SEARCHES = (*RIVAL_SEARCHES, "guided@20", "guided@200")
_FIELDS = {"repaired": "repaired", "50_steps": "after_50_steps", "finetuned": "finetuned"}

LEAST_WINS = 0.8  # share of cells
MOST_LOST = -0.003  # of accuracy, after the standard recipe


class Return(BaseModel):
    """What policies are paid on one problem; the untrained one is paid 0.

    Attributes:
        trained: the agent.
        shuffled: the agent, groups showing the features of others.
        unwatched: the agent, not shown how the network learned; None where nobody knows that.
        chance: random actions.
    """

    model_config = ConfigDict(frozen=True)

    network: str
    budget: str
    trained: float
    shuffled: float
    unwatched: float | None
    chance: float


class Unit(BaseModel):
    """One part with one seed.

    Attributes:
        commit: of the code which worked on it.
        machine: which did, with processes and threads; empty where nothing is known.
        returns: nothing where another part's agent is judged.
    """

    model_config = ConfigDict(frozen=True)

    part: str
    seed: int
    commit: str
    machine: str = ""
    rows: tuple[Cell, ...]
    returns: tuple[Return, ...]


Key: TypeAlias = tuple[str, str, int]
Cells: TypeAlias = dict[Key, dict[str, Cell]]


def cells_of(units: Iterable[Unit]) -> Cells:
    """Return the methods of every network, budget and seed."""
    found: Cells = {}
    for unit in units:
        for row in unit.rows:
            found.setdefault((row.model, row.budget, row.seed), {})[row.method] = row
    return found


def table(units: Sequence[Unit]) -> list[Row]:
    """Return all claims: over all held-out families, of each part, of held-out tasks."""
    families = [unit for unit in units if any(r.method == f"{AGENT}@20" for r in unit.rows)]
    tasks = [unit for unit in units if unit not in families]
    rows = _zero_shot("held-out families", cells_of(families)) if families else []
    rows += _few_shot("held-out families", cells_of(families)) if families else []
    for name in dict.fromkeys(unit.part for unit in families):
        own = cells_of(unit for unit in families if unit.part == name)
        rows += _zero_shot(name, own) + _few_shot(name, own)
    for name in dict.fromkeys(unit.part for unit in tasks):
        own = cells_of(unit for unit in tasks if unit.part == name)
        rows.append(_gain(f"{name}, agent", "sensitivity", f"{AGENT}@0", own, "above 0"))
        rows += [_gain(f"{name}, agent", one, f"{AGENT}@0", own) for one in CONTROLS]
    for name in dict.fromkeys(unit.part for unit in units if unit.returns):
        rows += _returns(name, [one for unit in units if unit.part == name for one in unit.returns])
    return rows


def _zero_shot(case: str, cells: Cells) -> list[Row]:
    """Compare the agent's first answer with what needs no search."""
    ours = f"{AGENT}@0"
    rows = [_wins(f"{case}, agent@0", RIVALS, ours, cells, f"at least {LEAST_WINS:.0%}")]
    rows += [_wins(f"{case}, agent@0", (one,), ours, cells) for one in (*RIVALS, *CONTROLS)]
    rows += [_gain(f"{case}, agent@0", one, ours, cells) for one in ("knapsack", *CONTROLS)]
    for stage in STAGES:
        target, holds = _AFTER[stage]
        differences = [
            _accuracy(some[ours], stage) - _accuracy(_best(some, stage), stage)
            for some in cells.values()
        ]
        value = estimate(differences)
        metric = f"accuracy - the rival's that validation picks, {stage}"
        rows.append(_judged(f"{case}, agent@0", metric, value, target, holds(value)))
        for one in CONTROLS:
            own = [_accuracy(s[ours], stage) - _accuracy(s[one], stage) for s in cells.values()]
            metric = f"accuracy - that of {one}, {stage}"
            rows.append(interval(f"{case}, agent@0", metric, estimate(own)))
    return rows


def _few_shot(case: str, cells: Cells) -> list[Row]:
    """Compare the agent with evaluations with searches from the same heuristic."""
    rows = []
    for count, target in ((20, "not below 0"), (200, "above 0")):
        compared, ours = f"{case}, agent@{count}", f"{AGENT}@{count}"
        for rival in RIVAL_SEARCHES:
            rows.append(_gain(compared, rival, ours, cells, target))
        rows.append(_gain(compared, f"guided@{count}", ours, cells))
    return rows


def _returns(part: str, found: Sequence[Return]) -> list[Row]:
    case = f"{part}, {len({one.network for one in found})} networks of the pool"
    trained = estimate([one.trained for one in found])
    rows = [
        _judged(
            case, "return; that of the untrained policy is 0", trained, "above 0", _above(trained)
        )
    ]
    for name, value in (
        ("a random policy's", [one.trained - one.chance for one in found]),
        ("with shuffled features", [one.trained - one.shuffled for one in found]),
        (
            "without training dynamics",
            [one.trained - one.unwatched for one in found if one.unwatched is not None],
        ),
    ):
        if value:
            gain = estimate(value)
            rows.append(_judged(case, f"return - {name}", gain, "above 0", _above(gain)))
    return rows


def notes(units: Sequence[Unit]) -> str:
    """Say what the table is made of."""
    made = ", ".join(
        f"{unit.part} (seed {unit.seed}, {unit.commit}, {unit.machine or 'machine not recorded'})"
        for unit in units
    )
    return (
        f"Made from: {made}. A cell is one network, budget and seed; intervals are 95 % t "
        "intervals over cells, over problems for returns. Gains are log(rival's search score / "
        "agent's), positive where the agent's is better; ties count as losses. `@N` is the "
        "evaluations beside a method's profile. guided is the agent's search without its policy, "
        "from the heuristic, with a profile of the same size; that of the other searches is "
        "smaller. knapsack is that of measured curves. Accuracies are on the test split; the agent "
        "never falls back on the heuristic."
    )


def _wins(case: str, rivals: Sequence[str], ours: str, cells: Cells, target: str = "") -> Row:
    """Return the share of cells in which the search score is better than every rival's."""
    won = [
        all(_score(some[ours]) < _score(some[rival]) for rival in rivals if rival in some)
        for some in cells.values()
    ]
    share = sum(won) / len(won)
    metric = f"cells with a better score than {rivals[0] if len(rivals) == 1 else 'all rivals'}"
    ok = share >= LEAST_WINS if target else None
    return Row(case, metric, share, share, share, len(won), target, ok)


def _gain(case: str, rival: str, ours: str, cells: Cells, target: str = "") -> Row:
    """Return by how much the logarithm of the search score is better than a rival's."""
    value = estimate(
        [
            math.log(_score(some[rival]) / _score(some[ours]))
            for some in cells.values()
            if rival in some and ours in some
        ]
    )
    holds = {"": None, "not below 0": value.mean >= 0, "above 0": _above(value)}[target]
    return _judged(case, f"gain on {rival}", value, target, holds)


def _best(some: dict[str, Cell], stage: str) -> Cell:
    """Return the rival that validation picks."""
    rivals = [some[name] for name in RIVALS if name in some]
    return max(rivals, key=lambda row: float(getattr(row.validation, _FIELDS[stage])))


def _accuracy(row: Cell, stage: str) -> float:
    return float(getattr(row, f"accuracy_{stage}"))


def _score(row: Cell) -> float:
    if row.score_search is None:
        raise ValueError(f"{row.method} has no search score")
    return row.score_search


def _above(value: Estimate, least: float = 0.0) -> bool:
    """Whether the interval lies above."""
    return value.low is not None and value.low > least


def _judged(case: str, metric: str, value: Estimate, target: str, ok: bool | None) -> Row:
    row = interval(case, metric, value)
    return replace(row, target=target, ok=ok if target else None)


_AFTER: dict[str, tuple[str, Callable[[Estimate], bool]]] = {
    "repaired": ("above 0", _above),
    "50_steps": ("above 0", _above),
    "finetuned": ("lower end above -0.003", lambda value: _above(value, MOST_LOST)),
}
