"""The table of the search score study: how well each score ranks plans, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
import numpy.typing as npt
from bench import Row, spread
from scipy.stats import kendalltau

from rlprune.compare.statistics import rank_correlation, top_regret
from rlprune.evaluate.search_score.registry import SEARCH_SCORES

Floats = npt.NDArray[np.float64]

RECIPES = {"accuracy": "240 steps", "accuracy_50": "50 steps"}
FEWEST_PLANS = 6
LEAST_CEILING = 0.4
"""Where two seeds agree less on the order of plans, no score can be judged."""


@dataclass(frozen=True)
class Case:
    """The finished plans of one network at one budget.

    Attributes:
        widths: of each plan; shape `(plans, groups)`.
        losses: `{score: (plans,)}`.
        accuracies: `{key of the recipe: (plans, seeds)}`, on validation data.
        costs: `{score: passes of the pruned network over the samples that take as long}`.
    """

    network: str
    budget: str
    widths: npt.NDArray[np.int64]
    losses: dict[str, Floats]
    accuracies: dict[str, Floats]
    costs: dict[str, float]

    def __str__(self) -> str:
        return f"{self.network}, {self.budget}"

    def ceiling(self, recipe: str) -> float:
        """Return the mean Spearman correlation of two seeds of fine-tuning."""
        seeds = self.accuracies[recipe].T
        pairs = [(a, b) for i, a in enumerate(seeds) for b in seeds[:i]]
        return fmean(_spearman(-a, b) for a, b in pairs)

    def quality_of(self, loss: Floats, recipe: str) -> dict[str, float]:
        """Return how well a loss ranks plans by their accuracy, regrets in points."""
        mean = self.accuracies[recipe].mean(1)
        found = {
            "Spearman": _spearman(loss, mean),
            "Spearman with one seed": fmean(
                _spearman(loss, one) for one in self.accuracies[recipe].T
            ),
            "Kendall": float(np.nan_to_num(kendalltau(-loss, mean).statistic)),
            "top-1 regret, points": 100 * top_regret(loss.tolist(), mean.tolist(), 1),
            "top-3 regret, points": 100 * top_regret(loss.tolist(), mean.tolist(), 3),
        }
        ceiling = self.ceiling(recipe)
        if ceiling >= LEAST_CEILING:
            found["Spearman / ceiling"] = found["Spearman"] / ceiling
            found["Spearman with one seed / ceiling"] = found["Spearman with one seed"] / ceiling
        return found


def cases_of(lines: Sequence[Mapping[str, Any]]) -> list[Case]:
    """Gather the plans that all seeds and all scores are there for."""
    whats = {one["what"] for one in lines}
    found: dict[tuple[str, str], dict[int, dict[int | str, Mapping[str, Any]]]] = {}
    for one in lines:
        case = found.setdefault((one["network"], one["budget"]), {})
        case.setdefault(one["plan"], {})[one["what"]] = one
    cases = []
    for (network, budget), plans in found.items():
        whole = [plan for _, plan in sorted(plans.items()) if plan.keys() == whats]
        if len(whole) >= FEWEST_PLANS:
            cases.append(_case(network, budget, whole))
    return cases


def _case(
    network: str, budget: str, plans: Sequence[Mapping[int | str, Mapping[str, Any]]]
) -> Case:
    scores = [what for what in plans[0] if isinstance(what, str)]
    seeds = sorted(what for what in plans[0] if isinstance(what, int))
    return Case(
        network,
        budget,
        np.array([plan[seeds[0]]["widths"] for plan in plans]),
        {name: np.array([plan[name]["value"] for plan in plans]) for name in scores},
        {r: np.array([[plan[s][r] for s in seeds] for plan in plans]) for r in RECIPES},
        {n: median(plan[n]["cpu"] / plan[n]["pass"] for plan in plans) for n in scores},
    )


def rows_of(cases: Sequence[Case], default: str) -> list[Row]:
    """Return means over cases, of the default score first, then every case by itself."""
    summary, single = [], []
    for recipe, label in RECIPES.items():
        ceilings = [case.ceiling(recipe) for case in cases]
        summary.append(spread(f"seed to seed, {label}", "Spearman (the ceiling)", ceilings))
        regret = [100 * float(a.max() - a.mean()) for a in _means(cases, recipe)]
        summary.append(spread(f"a plan at random, {label}", "regret, points", regret))
        for case, ceiling in zip(cases, ceilings, strict=True):
            n = len(case.widths)
            row = Row(
                f"{case}: seed to seed, {label}", "Spearman", ceiling, ceiling, ceiling, n, "", None
            )
            single.append(row)
        for name in cases[0].losses:
            found = [case.quality_of(case.losses[name], recipe) for case in cases]
            for metric in {key: None for one in found for key in one}:
                values = [one[metric] for one in found if metric in one]
                aim = name == default and metric == "Spearman / ceiling" and recipe == "accuracy"
                target = "at least 0.85" if aim else ""
                ok = fmean(values) >= 0.85 if aim else None
                summary.append(spread(f"{name}, {label}", metric, values, target, ok))
            single += [
                spread(f"{case}: {name}, {label}", "Spearman", [one["Spearman"]])
                for case, one in zip(cases, found, strict=True)
            ]
    for name in cases[0].costs:
        costs = [case.costs[name] for case in cases]
        label = f"{name} ({SEARCH_SCORES[name].cost})"
        summary.append(spread(label, "cost, forward passes", costs))
    return sorted(summary, key=lambda row: row.target == "") + single


def _spearman(loss: Floats, accuracy: Floats) -> float:
    return rank_correlation(loss.tolist(), accuracy.tolist()) or 0.0  # 0 if almost all are alike


def _means(cases: Sequence[Case], recipe: str) -> list[Floats]:
    return [case.accuracies[recipe].mean(1) for case in cases]
