"""What presets fill in."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from rlprune.agents.registry import STRATEGIES, strategy_named
from rlprune.compare.cells import BASELINE, SCRATCH
from rlprune.compare.presets import PRESETS, filled_in
from rlprune.config import CompareSettings, Preset
from rlprune.cost.budget import Budget
from rlprune.errors import BudgetError, RLPruneError
from rlprune.models.registry import BUILTIN_NAMES

OUT = Path("nowhere")


@pytest.mark.parametrize("name", get_args(Preset))
def test_a_preset_names_only_what_exists(name: Preset) -> None:
    settings = filled_in(CompareSettings(preset=name, out=OUT), STRATEGIES)
    assert set(settings.model) <= set(BUILTIN_NAMES)
    assert settings.methods[0] == BASELINE
    for method in settings.methods:
        strategy_named(method)
    for text in settings.budget:
        Budget.parse(text)


def test_all_holds_every_strategy() -> None:
    settings = filled_in(CompareSettings(preset="all", out=OUT), STRATEGIES)
    assert set(STRATEGIES) <= set(settings.methods)
    assert len(settings.budget) == 5


def test_the_survey_of_seeds_says_what_is_missing() -> None:
    assert "lottery ticket" in PRESETS["seeds-survey"].note


def test_what_is_typed_wins_and_is_named_once() -> None:
    settings = CompareSettings(
        preset="amc",
        model=("mlp", "mlp"),
        methods=("random", "uniform", SCRATCH, "random"),
        budget=("macs=0.50", "macs=0.5"),
        out=OUT,
    )
    found = filled_in(settings, STRATEGIES)
    assert (found.model, found.methods) == (("mlp",), ("uniform", "random"))
    assert found.budget == ("macs=0.5",)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"methods": ("random",)}, "--model"),
        ({"model": ("mlp",)}, "--methods .*sensitivity"),
        ({"model": ("mlp",), "methods": ("random",), "budget": ("macs=2",)}, "macs=2"),
    ],
)
def test_what_is_missing_or_wrong_is_refused(typed: dict[str, object], said: str) -> None:
    settings = CompareSettings(out=OUT, **typed)  # type: ignore[arg-type]
    with pytest.raises(RLPruneError, match=said) as refusal:
        filled_in(settings, STRATEGIES)
    assert ("budget" in typed) == isinstance(refusal.value, BudgetError)
