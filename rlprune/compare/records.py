"""What a comparison says about methods, as `result.json` holds it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from rlprune.compare.statistics import Estimate

Stage = Literal["repaired", "50_steps", "finetuned"]
STAGES: tuple[Stage, ...] = ("repaired", "50_steps", "finetuned")

OVERALL = "all"
"""In place of a budget: each seed's mean over all budgets."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Summary(_Record):
    """One method at one budget, over seeds, on the test split; None where it was not trained."""

    model: str
    method: str
    budget: str
    kept_macs: float
    kept_latency: float | None
    evaluations: float
    profile_evaluations: float
    seconds: float
    accuracy: dict[Stage, Estimate | None]


class Difference(_Record):
    """A method less the baseline, paired by seed, on the test split.

    Attributes:
        wins: pairs in which the method is better; ties count as losses.
    """

    model: str
    method: str
    baseline: str
    budget: str
    stage: Stage
    difference: Estimate
    wins: int


class Front(_Record):
    """A method at a budget that none beats: no other costs as little and is better, by means."""

    model: str
    stage: Stage
    method: str
    budget: str
    kept_macs: float
    accuracy: float


class Volume(_Record):
    """What a method dominates over all budgets: the area under its front, up to the dense MACs."""

    model: str
    method: str
    stage: Stage
    hypervolume: Estimate


class Fidelity(_Record):
    """How well the search score ranks the networks of one budget, on the validation split.

    Attributes:
        n: distinct networks, of all methods and seeds but the control.
        spearman: of a low score with a high quality after training; None of too few or equal ones.
        regret_top_1: quality lost by training only the network with the best score.
        regret_top_3: by training the three best and keeping the best of them.
    """

    model: str
    budget: str
    stage: Stage
    n: int
    spearman: float | None
    regret_top_1: float
    regret_top_3: float
