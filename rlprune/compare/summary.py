"""What a comparison's rows say: everything here follows from them alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from rlprune.compare.cells import SCRATCH, Row
from rlprune.compare.records import (
    OVERALL,
    STAGES,
    Difference,
    Fidelity,
    Front,
    Stage,
    Summary,
    Volume,
)
from rlprune.compare.statistics import (
    Estimate,
    estimate,
    hypervolume,
    pareto,
    rank_correlation,
    top_regret,
)

TOP = 3
"""Networks that would be fine-tuned where the search score chooses them."""

Item = TypeVar("Item")


def value_of(row: Row, stage: Stage) -> float | None:
    """Return the quality of a row on the test split."""
    found: float | None = getattr(row, f"accuracy_{stage}")
    return found


def summaries(rows: Sequence[Row]) -> tuple[Summary, ...]:
    """Return one summary for each model, budget and method, in the order of the rows."""
    found = []
    for (model, budget, method), some in _grouped(rows, lambda r: (r.model, r.budget, r.method)):
        found.append(
            Summary(
                model=model,
                method=method,
                budget=budget,
                kept_macs=_mean(row.kept_macs for row in some),
                kept_latency=_mean_or_none([row.kept_latency for row in some]),
                evaluations=_mean(row.evaluations for row in some),
                profile_evaluations=_mean(row.profile_evaluations for row in some),
                seconds=_mean(row.seconds for row in some),
                accuracy={stage: _estimated(_values(some, stage)) for stage in STAGES},
            )
        )
    return tuple(found)


def differences(rows: Sequence[Row], baseline: str) -> tuple[Difference, ...]:
    """Compare every method with the baseline, at each budget and over all of them."""
    found = []
    for (model,), some in _grouped(rows, lambda row: (row.model,)):
        for (method,), ours in _grouped(some, lambda row: (row.method,)):
            if method == baseline:
                continue
            theirs = {(r.budget, r.seed): r for r in some if r.method == baseline}
            for stage in STAGES:
                pairs = {
                    (row.budget, row.seed): a - b
                    for row in ours
                    if (row.budget, row.seed) in theirs
                    and (a := value_of(row, stage)) is not None
                    and (b := value_of(theirs[row.budget, row.seed], stage)) is not None
                }
                for budget, values in _by_budget(pairs):
                    found.append(
                        Difference(
                            model=model,
                            method=method,
                            baseline=baseline,
                            budget=budget,
                            stage=stage,
                            difference=estimate(values),
                            wins=sum(value > 0 for value in values),
                        )
                    )
    return tuple(found)


def fronts(summary: Sequence[Summary]) -> tuple[Front, ...]:
    """Return the Pareto front of kept MACs and quality of each model and stage."""
    found = []
    for (model,), some in _grouped(summary, lambda one: (one.model,)):
        for stage in STAGES:
            placed = [(one, value.mean) for one in some if (value := one.accuracy[stage])]
            for i in pareto([(one.kept_macs, mean) for one, mean in placed]):
                one, mean = placed[i]
                found.append(
                    Front(
                        model=model,
                        stage=stage,
                        method=one.method,
                        budget=one.budget,
                        kept_macs=one.kept_macs,
                        accuracy=mean,
                    )
                )
    return tuple(found)


def volumes(rows: Sequence[Row]) -> tuple[Volume, ...]:
    """Return the hypervolume of each method, over seeds."""
    found = []
    for (model, method), some in _grouped(rows, lambda row: (row.model, row.method)):
        for stage in STAGES:
            each = [
                hypervolume(
                    [(r.kept_macs, v) for r in one if (v := value_of(r, stage)) is not None]
                )
                for _, one in _grouped(some, lambda row: (row.seed,))
                if _values(one, stage)
            ]
            if each:
                volume = estimate(each)
                found.append(Volume(model=model, method=method, stage=stage, hypervolume=volume))
    return tuple(found)


def fidelities(rows: Sequence[Row]) -> tuple[Fidelity, ...]:
    """Return how well the search score ranked the networks of each model and budget."""
    found = []
    stages: tuple[tuple[Stage, str], ...] = (
        ("50_steps", "after_50_steps"),
        ("finetuned", "finetuned"),
    )
    for (model, budget), some in _grouped(rows, lambda row: (row.model, row.budget)):
        distinct = {(r.plan, r.seed): r for r in some if r.method != SCRATCH}
        for stage, name in stages:
            pairs = [
                (row.score_search, value)
                for row in distinct.values()
                if row.score_search is not None
                and (value := getattr(row.validation, name)) is not None
            ]
            if pairs:
                losses, values = ([pair[i] for pair in pairs] for i in (0, 1))
                found.append(
                    Fidelity(
                        model=model,
                        budget=budget,
                        stage=stage,
                        n=len(pairs),
                        spearman=rank_correlation(losses, values),
                        regret_top_1=top_regret(losses, values, 1),
                        regret_top_3=top_regret(losses, values, TOP),
                    )
                )
    return tuple(found)


def _grouped(
    items: Iterable[Item], key: Callable[[Item], tuple[str | int, ...]]
) -> Iterator[tuple[tuple[str, ...], list[Item]]]:
    """Collect items of equal keys, in the order in which the keys first appear."""
    groups: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        groups.setdefault(tuple(map(str, key(item))), []).append(item)
    yield from groups.items()


def _by_budget(pairs: dict[tuple[str, int], float]) -> Iterator[tuple[str, list[float]]]:
    budgets = list(dict.fromkeys(budget for budget, _ in pairs))
    for budget in budgets:
        yield budget, [value for (b, _), value in pairs.items() if b == budget]
    if len(budgets) > 1:
        seeds = dict.fromkeys(seed for _, seed in pairs)
        yield OVERALL, [_mean(v for (_, s), v in pairs.items() if s == seed) for seed in seeds]


def _values(rows: Iterable[Row], stage: Stage) -> list[float]:
    return [value for row in rows if (value := value_of(row, stage)) is not None]


def _estimated(values: Sequence[float]) -> Estimate | None:
    return estimate(values) if values else None


def _mean(values: Iterable[float]) -> float:
    return estimate(list(values)).mean


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if known else None
