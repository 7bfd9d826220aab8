"""Comparisons that are known by name, and what they fill in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rlprune.compare.cells import BASELINE, SCRATCH
from rlprune.config import CompareSettings, Preset
from rlprune.cost.budget import Budget
from rlprune.errors import RLPruneError

DEFAULT_BUDGETS = ("macs=0.5",)


@dataclass(frozen=True)
class Contents:
    """What a preset fills in.

    Attributes:
        models: built-in networks.
        methods: strategies.
        budgets: kept fractions.
        note: what it leaves out, for the report; empty if nothing.
        every_strategy: whether all strategies that are one name each come before `methods`.
    """

    models: tuple[str, ...]
    methods: tuple[str, ...]
    budgets: tuple[str, ...]
    note: str = ""
    every_strategy: bool = False


PRESETS: dict[Preset, Contents] = {
    "seeds-survey": Contents(
        models=("plain_cnn",),
        methods=("local-l1", "global-l1", "local-snip", "global-snip"),
        budgets=("macs=0.5", "macs=0.2", "macs=0.1"),
        note="seeds-survey: magnitude and SNIP are criteria of channels of the trained network; "
        "the lottery ticket and SNIP before training need masks and rewinding, which are not "
        "there yet, and are not among the rows",
    ),
    "soft-coefficient": Contents(
        models=("autoencoder",),
        methods=("random", "grid", "grid-unscreened", "gradient"),
        budgets=("params=0.5",),
    ),
    "screening": Contents(
        models=("mlp", "plain_cnn"),
        methods=("local-l1", "local-screening-f", "local-screening"),
        budgets=("macs=0.5", "macs=0.3"),
    ),
    "amc": Contents(
        models=("mobilenetv2",),
        methods=("sensitivity", "random", "ddpg"),
        budgets=("macs=0.5",),
    ),
    "all": Contents(
        models=("plain_cnn",),
        methods=("global-lamp", "global-taylor", "local-fpgm", "local-taylor", "local-screening"),
        budgets=("macs=0.6", "macs=0.4", "macs=0.2", "macs=0.1", "macs=0.05"),
        every_strategy=True,
    ),
}


def filled_in(settings: CompareSettings, strategies: Iterable[str]) -> CompareSettings:
    """Return settings with everything in them that a preset, or the rule, adds.

    The baseline comes first among the methods; the control is a row of its own, not a method.

    Raises:
        RLPruneError: if models or methods are neither typed nor given by a preset.
        BudgetError: if a budget is malformed.
    """
    preset = None if settings.preset is None else PRESETS[settings.preset]
    models, methods, budgets = settings.model, settings.methods, settings.budget
    if preset is not None:
        everyone = tuple(strategies) if preset.every_strategy else ()
        models = models or preset.models
        methods = methods or (*everyone, *preset.methods)
        budgets = budgets or preset.budgets
    if not models:
        raise RLPruneError(f"compare needs --model, or --preset ({', '.join(PRESETS)})")
    if not methods:
        raise RLPruneError(
            f"compare needs --methods ({', '.join(strategies)}, local-CRITERION, "
            f"global-CRITERION, an agent folder), or --preset ({', '.join(PRESETS)})"
        )
    parsed = (str(Budget.parse(text)) for text in budgets or DEFAULT_BUDGETS)
    named = dict.fromkeys((BASELINE, *methods))
    named.pop(SCRATCH, None)
    return settings.model_copy(
        update={
            "model": tuple(dict.fromkeys(models)),
            "methods": tuple(named),
            "budget": tuple(dict.fromkeys(parsed)),
        }
    )
