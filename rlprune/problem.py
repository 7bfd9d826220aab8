"""One model, its data and one budget: everything that an agent may see."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from rlprune.allocate.sensitivity import Reference, Sensitivity, profile, reference
from rlprune.calling import take, to_device
from rlprune.config import LatencySettings
from rlprune.cost.budget import Allocation, Budget
from rlprune.cost.latency import LatencyMeter
from rlprune.data.registry import load_data
from rlprune.data.splits import DataSplits
from rlprune.errors import RLPruneError
from rlprune.evaluate.evaluator import Evaluator, Ledger, Measurement
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel, load_model
from rlprune.surgery.plan import Plan

SEARCH_IMAGES = 512


class Problem:
    """A dense model to prune to a budget; agents and the environment see nothing else.

    Args:
        name: of the model, for reports.
        evaluator: scores plans of the model; shared by all budgets.
        data: the four splits.
        budget: what the pruned model may cost.
        recipe: how rlprune can build the dense architecture again, or None.

    Raises:
        BudgetError: if the budget cannot be reached, with the reachable range.
    """

    def __init__(
        self,
        name: str,
        evaluator: Evaluator,
        data: DataSplits,
        budget: Budget,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        budget.check_reachable(evaluator.graph)
        self.name = name
        self.evaluator = evaluator
        self.data = data
        self.budget = budget
        self.recipe = recipe

    @classmethod
    def build(
        cls,
        model: nn.Module | LoadedModel | str,
        data: DataSplits | str = "digits",
        budget: Budget | str = "macs=0.5",
        *,
        device: str = "cpu",
        seed: int = 0,
        search_images: int = SEARCH_IMAGES,
        latency: LatencySettings | None = None,
        measure_latency: bool = True,
        keep: Sequence[str] = (),
        residual_width: bool = False,
    ) -> Problem:
        """Trace a model and set up its evaluation.

        Args:
            model: a trained module, or a name that `--model` accepts.
            data: a name that `--data` accepts, or splits.
            budget: such as `macs=0.5`.
            device: `cpu`, `cuda` or another torch device.
            seed: chooses the search samples among the search split.
            search_images: samples that recalibrate and score every plan.
            latency: how latency is measured.
            measure_latency: False leaves latency out of every measurement.
            keep: names or patterns of layers that stay as they are; see `rlprune.trace`.
            residual_width: also prune the width that a LayerNorm averages over.
        """
        budget = Budget.parse(budget) if isinstance(budget, str) else budget
        splits = load_data(data) if isinstance(data, str) else data
        loaded = load_model(model, splits) if isinstance(model, str) else model
        name, module, recipe = _unpack(loaded)
        target = resolve_device(device)
        dense = copy.deepcopy(module).to(target).eval()  # the caller's model stays as it is
        example = to_device(splits.search.tensors(64)[0], target)
        few = take(example, slice(2))
        graph = trace(dense, few, keep=keep, residual_width=residual_width)
        meter = LatencyMeter(dense, example, latency or LatencySettings())
        evaluator = Evaluator(
            dense,
            graph,
            splits,
            search_images=search_images,
            latency=meter if measure_latency else None,
            seed=seed,
            device=target,
        )
        return cls(name, evaluator, splits, budget, recipe)

    def with_budget(self, budget: Budget) -> Problem:
        """Return the same problem at another budget; evaluations and ledger are shared."""
        other = Problem(self.name, self.evaluator, self.data, budget, self.recipe)
        if "sensitivity" in self.__dict__:
            other.__dict__["sensitivity"] = self.sensitivity
        return other

    @property
    def graph(self) -> GroupGraph:
        """The model's dependency groups."""
        return self.evaluator.graph

    @property
    def ledger(self) -> Ledger:
        """Counts of all evaluations so far."""
        return self.evaluator.ledger

    @cached_property
    def sensitivity(self) -> Sensitivity:
        """Score of each group cut alone to half, or block removed; profile evaluations at first."""
        return profile(self.evaluator)

    @cached_property
    def reference(self) -> Reference:
        """The heuristic's plan for this budget; profile evaluations on first use."""
        return reference(
            self.evaluator,
            self.sensitivity,
            self.budget,
            latency=self.evaluator.measures_latency,
        )

    def decode(self, allocation: Allocation) -> Plan:
        """Return the plan that an allocation means under the budget: best channels by norm."""
        return Plan.from_widths(self.graph, self.budget.decode(self.graph, allocation))

    def evaluate(self, plan: Plan, *, latency: bool = False) -> Measurement:
        """Score a plan on the search split; see `Evaluator.evaluate`."""
        return self.evaluator.evaluate(plan, latency=latency)

    def uses(self) -> Ledger:
        """Return a copy of the ledger, to subtract later."""
        return replace(self.ledger)


def resolve_device(name: str) -> torch.device:
    """Return the torch device called `name`; `auto` prefers CUDA.

    Raises:
        RLPruneError: if the device is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RLPruneError(f"device {name!r} is not available here; use cpu or auto") from error
    return device


def _unpack(
    model: nn.Module | LoadedModel,
) -> tuple[str, nn.Module, Mapping[str, Any] | None]:
    if isinstance(model, LoadedModel):
        return model.name, model.module, model.recipe
    return type(model).__name__, model, None
