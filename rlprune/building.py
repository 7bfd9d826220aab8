"""A problem from settings, for every process that needs the same one."""

from __future__ import annotations

from pathlib import Path

from rlprune.cache.store import Store
from rlprune.config import SearchSettings, TaskSettings
from rlprune.cost.budget import Budget
from rlprune.data.registry import load_data
from rlprune.data.splits import DataSplits
from rlprune.models.registry import load_model
from rlprune.problem import Problem


def data_from(settings: TaskSettings) -> DataSplits:
    """Load the data that settings name."""
    return load_data(settings.data, data_dir=settings.data_dir, image_size=settings.image_size)


def problem_from(
    settings: TaskSettings,
    model: str,
    data: DataSplits,
    budget: Budget,
    *,
    weights: Path | None = None,
    latency_table: Path | None = None,
    measure_latency: bool | None = None,
    seed: int | None = None,
) -> Problem:
    """Build a problem as settings say.

    Args:
        settings: of any command that evaluates plans.
        model: a name that `--model` accepts.
        data: see `data_from`.
        budget: what may be kept.
        weights: the model's, or None for those that ship or that its factory fills in.
        latency_table: of the model, measured before.
        measure_latency: see `Problem.build`.
        seed: chooses the search samples; the settings' own by default.
    """
    search = settings if isinstance(settings, SearchSettings) else SearchSettings()
    return Problem.build(
        load_model(model, data, weights=weights),
        data,
        budget,
        device=settings.device,
        seed=settings.seed if seed is None else seed,
        evaluation=settings.evaluation,
        latency=search.latency,
        measure_latency=measure_latency,
        latency_table=latency_table,
        round_to=search.round_to,
        keep=settings.keep,
        residual_width=settings.residual_width,
        store=Store(settings.cache_dir),
    )
