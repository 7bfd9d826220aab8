"""Search scores by name."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from rlprune.errors import UnknownNameError
from rlprune.evaluate.search_score.base import SearchScore
from rlprune.evaluate.search_score.capacity import Bottleneck, GradientNorm, Params, Synflow
from rlprune.evaluate.search_score.distilled import Distilled, training_samples
from rlprune.evaluate.search_score.learned import BASES, POWERS, Learned
from rlprune.evaluate.search_score.outputs import divergence, error
from rlprune.evaluate.search_score.repaired import SAMPLES, repair


def _learned(name: str) -> SearchScore:
    base = _MEASURED[BASES[name]]
    return replace(base, name=name, loss=partial(Learned, powers=POWERS[name]), adds_up=False)


def _distilled(steps: int) -> SearchScore:
    return SearchScore(
        f"distilled-{steps}",
        "distil",
        divergence,
        repair=partial(Distilled, steps=steps),
        trains=True,
        training_samples=training_samples(steps),
    )


_MEASURED: dict[str, SearchScore] = {
    score.name: score
    for score in (
        SearchScore("raw", "none", divergence, recalibrates=False, adds_up=True),
        SearchScore("kl", "recalibrate", divergence, adds_up=True),
        SearchScore("accuracy", "recalibrate", error),
        SearchScore("params", "capacity", Params),
        SearchScore("bottleneck", "capacity", Bottleneck),
        SearchScore("gradient-norm", "capacity", GradientNorm),
        SearchScore("synflow", "capacity", Synflow),
        SearchScore(
            "repaired",
            "repair",
            divergence,
            repair=repair,
            adds_up=True,
            training_samples=SAMPLES,
        ),
        *map(_distilled, (10, 50, 200)),
    )
}

SEARCH_SCORES = _MEASURED | {name: _learned(name) for name in BASES}
"""`{name: search score}`."""


def search_score_named(name: str) -> SearchScore:
    """Return a search score.

    Raises:
        UnknownNameError: if there is none of that name, with the closest.
    """
    if name not in SEARCH_SCORES:
        raise UnknownNameError("search score", name, SEARCH_SCORES)
    return SEARCH_SCORES[name]
