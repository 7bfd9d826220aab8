"""What the study of the agent claims: rows of `bench_agent` from what its parts found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TypeAlias

from bench import Row, interval, spread
from pydantic import BaseModel, ConfigDict

from rlprune.compare.cells import Row as Cell
from rlprune.compare.records import STAGES
from rlprune.compare.statistics import Estimate, estimate

AGENT = "agent"
RIVALS = ("uniform", "global-l2", "global-taylor", "sensitivity", "knapsack", "fewest-params")
"""What needs no search."""

PICKED = f"{AGENT}@0/{len(RIVALS)}"
"""Of the agent's best plans by its profile, as many as there are rivals, validation picks one."""

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
        commit: of the code which worked on it, or of all that did.
        machine: which did, with processes and threads; empty where nothing is known.
        refused: cells that have no row, each with its reason.
        ranking: the criterion by which the agent, and guided, rank channels; others by l2.
        ppo_episodes: of PPO that the agent kept.
        returns: nothing where another part's agent is judged.
    """

    model_config = ConfigDict(frozen=True)

    part: str
    seed: int
    commit: str
    machine: str = ""
    rows: tuple[Cell, ...]
    refused: tuple[str, ...] = ()
    ranking: str = "l2"
    ppo_episodes: int = 0
    returns: tuple[Return, ...]


Key: TypeAlias = tuple[str, str, int]
Methods: TypeAlias = dict[str, Cell]
Cells: TypeAlias = dict[Key, Methods]


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
        rows += _gain(f"{name}, agent", ("sensitivity",), f"{AGENT}@0", own, "above 0")
        rows += _gain(f"{name}, agent", CONTROLS, f"{AGENT}@0", own)
    for name in dict.fromkeys(unit.part for unit in units if unit.returns):
        rows += _returns(name, [one for unit in units if unit.part == name for one in unit.returns])
    return rows


def _zero_shot(case: str, cells: Cells) -> list[Row]:
    """Compare the agent's first answer with what needs no search."""
    ours = f"{AGENT}@0"
    rows = [_wins(f"{case}, agent@0", RIVALS, ours, cells, f"at least {LEAST_WINS:.0%}")]
    rows += [_wins(f"{case}, agent@0", (one,), ours, cells) for one in (*RIVALS, *CONTROLS)]
    rows += _gain(f"{case}, agent@0", ("knapsack", *CONTROLS), ours, cells)
    rows += _against_picked(f"{case}, agent@0", ours, cells)
    rows += _accuracies(f"{case}, agent@0", CONTROLS, ours, cells)
    rows += _against_picked(f"{case}, {PICKED}", PICKED, cells)
    rows += _accuracies(f"{case}, {PICKED}", (ours,), PICKED, cells)
    return rows


def _against_picked(case: str, ours: str, cells: Cells) -> list[Row]:
    """Compare accuracies with those of the rival that validation picks, trained like all others."""
    answered, rows = _having(cells, ours), []
    for stage in STAGES if answered else ():
        target, holds = _AFTER[stage]
        value = _over_seeds(
            {
                key: _accuracy(some[ours], stage) - _accuracy(_best(some, stage), stage)
                for key, some in answered.items()
            }
        )
        metric = f"accuracy - the rival's that validation picks, {stage}"
        rows.append(_judged(case, metric, value, target, holds(value)))
    return rows


def _few_shot(case: str, cells: Cells) -> list[Row]:
    """Compare the agent with evaluations with searches from the same kind of heuristic.

    Profiles are paid for: with as many evaluations beside them, ours is cut to what a rival took.
    """
    rows = []
    for count, target in ((20, "not below 0"), (200, "")):
        compared, ours = f"{case}, agent@{count}", f"{AGENT}@{count}"
        rows += _gain(compared, RIVAL_SEARCHES, ours, cells, target)
        if count == 200:
            rows += _gain_at_equal_cost(compared, RIVAL_SEARCHES, ours, cells, "above 0")
        for name in (*RIVAL_SEARCHES, ours):
            own = [some[name] for some in cells.values() if name in some]
            paid = [float(row.evaluations) for row in own]
            known = [float(_in_all(row)) for row in own]
            if own:
                rows.append(spread(compared, f"evaluations of {name}, least to most", paid))
                rows.append(spread(compared, f"the same with its profile, {name}", known))
        rows += _gain(compared, (f"guided@{count}",), ours, cells)
        rows += _accuracies(compared, (*RIVAL_SEARCHES, f"guided@{count}"), ours, cells)
    return rows


def _returns(part: str, found: Sequence[Return]) -> list[Row]:
    networks: dict[str, list[Return]] = {}
    for one in found:
        networks.setdefault(one.network, []).append(one)
    case = f"{part}, {len(networks)} networks of the pool"

    def mean(value: Callable[[Return], float | None]) -> Estimate | None:
        """Average over networks, whose problems are alike; None where nothing is known."""
        known = [[v for one in some if (v := value(one)) is not None] for some in networks.values()]
        return estimate([fmean(some) for some in known if some]) if any(known) else None

    rows = []
    for metric, value in (
        ("return; that of the untrained policy is 0", mean(lambda one: one.trained)),
        ("return - a random policy's", mean(lambda one: one.trained - one.chance)),
        ("return - with shuffled features", mean(lambda one: one.trained - one.shuffled)),
        ("return - without training dynamics", mean(_watched)),
    ):
        if value is not None:
            rows.append(_judged(case, metric, value, "above 0", _above(value)))
    return rows


def _watched(one: Return) -> float | None:
    return None if one.unwatched is None else one.trained - one.unwatched


def notes(units: Sequence[Unit]) -> str:
    """Say what the table is made of."""
    made = ", ".join(
        f"{unit.part} (seed {unit.seed}, {unit.commit}, {unit.machine or 'machine not recorded'})"
        for unit in units
    )
    rankings = ", ".join(sorted({unit.ranking for unit in units}))
    kept = sum(unit.ppo_episodes > 0 for unit in units)
    return (
        f"Made from: {made}. {_refused(units)}A cell is one network, budget and seed; intervals "
        "are 95 % t intervals over networks and budgets, whose seeds are averaged first, and over "
        "networks of the pool for returns. Gains are "
        "log(rival's search score / agent's), positive where the agent's is better; ties count as "
        "losses. `@N` is the evaluations beside a method's profile; `as many in all` cuts the "
        "agent's to what a rival took, profile and all. guided is the agent's search without its "
        "policy, from the heuristic, with a profile of the same size; that of the other searches "
        f"is smaller. `{PICKED}` is the one of its {len(RIVALS)} best plans that validation picks "
        "after 50 steps, as one of as many rivals is picked. The agent and guided rank channels by "
        f"{rankings}, all others by l2 or as their names say. knapsack is "
        "that of measured curves. Accuracies are on the test split; "
        "the agent never falls back on the heuristic. Episodes of PPO were kept in "
        f"{kept} of {len(units)} units; all else that agents know was fitted to experience.\n\n"
        "Chosen before: how channels are ranked, how features are scaled, how cautious the fit is "
        "and how the search goes were settled on the pool, for the latter each family of it left "
        "out in turn, and on cells of without-residual-vgg with seed 0, where finalists were tried "
        "too. What is said of ResNet-20, VGG and all returns is not free of that choice; all else "
        "is. Of the networks of cells only ResNet-56 has a record of how it learned; those of the "
        "pool have."
    )


def _refused(units: Sequence[Unit]) -> str:
    cells = "; ".join(one for unit in units for one in unit.refused)
    return f"No answer: {cells}. " if cells else ""


def _wins(case: str, rivals: Sequence[str], ours: str, cells: Cells, target: str = "") -> Row:
    """Return the share of cells in which the search score is better than every rival's.

    Where no rival has an answer there is nothing to win; where we have none the cell is lost.
    """
    won = []
    for some in cells.values():
        theirs = [_score(some[rival]) for rival in rivals if rival in some]
        if theirs:
            won.append(ours in some and _score(some[ours]) < min(theirs))
    share = sum(won) / len(won)
    metric = f"cells with a better score than {rivals[0] if len(rivals) == 1 else 'all rivals'}"
    ok = share >= LEAST_WINS if target else None
    return Row(case, metric, share, share, share, len(won), target, ok)


def _gain(case: str, rivals: Sequence[str], ours: str, cells: Cells, target: str = "") -> list[Row]:
    """Return by how much the logarithm of the search score is better than each rival's."""
    rows = []
    for rival in rivals:
        gains = {
            key: math.log(_score(some[rival]) / _score(some[ours]))
            for key, some in _having(cells, rival, ours).items()
        }
        if gains:
            value = _over_seeds(gains)
            holds = {"": None, "not below 0": value.mean >= 0, "above 0": _above(value)}[target]
            rows.append(_judged(case, f"gain on {rival}", value, target, holds))
    return rows


def _gain_at_equal_cost(
    case: str, rivals: Sequence[str], ours: str, cells: Cells, target: str
) -> list[Row]:
    """Return by how much better ours is by the time that it has cost as much as a rival."""
    rows, start = [], f"{AGENT}@0"
    for rival in rivals:
        gains = {}
        for key, some in _having(cells, rival, ours, start).items():
            reached = _within(some[ours], some[start], _in_all(some[rival]))
            gains[key] = math.log(_score(some[rival]) / reached)
        if gains:
            value = _over_seeds(gains)
            metric = f"gain on {rival}, as many in all"
            rows.append(_judged(case, metric, value, target, _above(value)))
    return rows


def _within(row: Cell, start: Cell, total: int) -> float:
    """Return the best score that a search had found by so many evaluations in all.

    Args:
        row: of the search.
        start: the same without evaluations beside its profile.
        total: profile and all.
    """
    found = [s for count, s in row.best_so_far if count + row.profile_evaluations <= total]
    return min([_score(start), *found])


def _in_all(row: Cell) -> int:
    return row.evaluations + row.profile_evaluations


def _accuracies(case: str, rivals: Sequence[str], ours: str, cells: Cells) -> list[Row]:
    """Return by how much the accuracy is better than each rival's, after each fine-tuning."""
    rows = []
    for rival in rivals:
        both = _having(cells, rival, ours)
        for stage in STAGES if both else ():
            more = {
                key: _accuracy(some[ours], stage) - _accuracy(some[rival], stage)
                for key, some in both.items()
            }
            metric = f"accuracy - that of {rival}, {stage}"
            rows.append(interval(case, metric, _over_seeds(more)))
    return rows


def _having(cells: Cells, *methods: str) -> Cells:
    """Return the cells in which all of these have an answer."""
    return {key: some for key, some in cells.items() if some.keys() >= set(methods)}


def _over_seeds(values: dict[Key, float]) -> Estimate:
    """Average over networks and budgets; seeds of the same are no independent cells."""
    seeds: dict[tuple[str, str], list[float]] = {}
    for (network, budget, _), value in values.items():
        seeds.setdefault((network, budget), []).append(value)
    return estimate([fmean(some) for some in seeds.values()])


def _best(some: Methods, stage: str) -> Cell:
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
