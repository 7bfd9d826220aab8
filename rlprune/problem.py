"""One model, its data and one budget: everything that an agent may see."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from rlprune.allocate.curves import Losses, profile_curves
from rlprune.allocate.estimated import estimated_curves
from rlprune.allocate.heuristic import heuristic
from rlprune.allocate.knapsack import least_loss
from rlprune.allocate.local import Changes, local_changes
from rlprune.allocate.profiles import profile_plans
from rlprune.allocate.reconstruction import profile_reconstruction
from rlprune.allocate.reference import Reference
from rlprune.allocate.sensitivity import Sensitivity, profile
from rlprune.cache.store import NoStore, Store
from rlprune.calling import repeated, take, to_device
from rlprune.config import EvaluationSettings, LatencySettings
from rlprune.cost.analytic import Widths
from rlprune.cost.budget import Allocation, Budget
from rlprune.cost.costs import Costs, rounding_of
from rlprune.criteria.base import ChannelScores, Probe
from rlprune.criteria.norms import L2
from rlprune.criteria.registry import channel_scores
from rlprune.criteria.stored import stored_scores
from rlprune.data.registry import load_data
from rlprune.data.splits import DataSplits
from rlprune.dynamics.record import Dynamics
from rlprune.errors import RLPruneError
from rlprune.evaluate.evaluator import Evaluator, Measurement
from rlprune.evaluate.imitation import imitated
from rlprune.evaluate.ledger import Ledger
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.latency import stored
from rlprune.latency.provider import LatencyProvider
from rlprune.models.registry import LoadedModel, load_model
from rlprune.surgery.plan import Plan, Scores


class Problem:
    """A dense model to prune to a budget; agents and the environment see nothing else.

    Args:
        name: of the model, for reports.
        evaluator: scores plans of the model; shared by all budgets.
        data: the four splits.
        budget: what the pruned model may cost.
        recipe: how rlprune can build the dense architecture again, or None.
        round_to: widths are multiples of this, or whole; by default of 1, or of `granularity`
            where the budget limits latency.
        granularity: channels that the device takes at once.
        sensitivity: gives the network's sensitivity; measured on first use by default.
        store: keeps what is measured once per network, data and device.
        dynamics: how the model learned, or None where nobody watched.
        ranking: the criterion that the evaluator's graph ranks channels by.

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
        *,
        round_to: int | None = None,
        granularity: int = 1,
        sensitivity: Callable[[], Sensitivity] | None = None,
        store: Store | None = None,
        dynamics: Dynamics | None = None,
        ranking: str = L2.name,
    ) -> None:
        self._round_to, self._granularity = round_to, granularity
        rounding = _rounding(evaluator.graph, budget, granularity, round_to)
        self.costs = Costs(evaluator.graph, evaluator.latency, rounding)
        budget.check_reachable(self.costs)
        self.name = name
        self.evaluator = evaluator
        self.data = data
        self.budget = budget
        self.recipe = recipe
        self.dynamics = dynamics
        self.ranking = ranking
        self._store = store or NoStore()
        self._sensitivity = sensitivity or cache(partial(profile, evaluator, self._store))
        self._curves = cache(partial(profile_curves, evaluator, self._store))
        self._reconstruction = cache(partial(profile_reconstruction, evaluator, self._store))
        self._ranked: dict[str, Problem] = {}
        self._graphs: dict[str, GroupGraph] = {}

    @classmethod
    def build(
        cls,
        model: nn.Module | LoadedModel | str,
        data: DataSplits | str = "digits",
        budget: Budget | str = "macs=0.5",
        *,
        device: str = "cpu",
        seed: int = 0,
        evaluation: EvaluationSettings | None = None,
        latency: LatencySettings | None = None,
        measure_latency: bool | None = None,
        latency_table: Path | None = None,
        round_to: int | None = None,
        keep: Sequence[str] = (),
        residual_width: bool = False,
        store: Store | None = None,
    ) -> Problem:
        """Trace a model and set up its evaluation.

        Args:
            model: a trained module, or a name that `--model` accepts.
            data: a name that `--data` accepts, or splits.
            budget: such as `macs=0.5`.
            device: `cpu`, `cuda` or another torch device.
            seed: chooses the search samples among the search split.
            evaluation: how plans are scored.
            latency: how latency is measured.
            measure_latency: whether plans are charged for their latency; by default where the
                budget limits it.
            latency_table: file of a table that an earlier run has measured here.
            round_to: widths are multiples of this, or whole; by default of 1, or of what the
                device takes at once, as measured, where the budget limits latency.
            keep: names or patterns of layers that stay as they are; see `rlprune.trace`.
            residual_width: also prune the width that a LayerNorm averages over.
            store: keeps what is measured once per network, data and device; nothing is kept
                without one.
        """
        budget = Budget.parse(budget) if isinstance(budget, str) else budget
        splits = load_data(data) if isinstance(data, str) else data
        loaded = load_model(model, splits) if isinstance(model, str) else model
        name, module, recipe, dynamics = _unpack(loaded)
        target = resolve_device(device)
        dense = copy.deepcopy(module).to(target).eval()  # the caller's model stays as it is
        splits = imitated(dense, splits)
        example = to_device(splits.search.tensors(64)[0], target)
        few = take(example, slice(2))
        graph = trace(dense, few, keep=keep, residual_width=residual_width)
        kept, timing = store or NoStore(), latency or LatencySettings()
        charged = budget.limits_latency if measure_latency is None else measure_latency
        batch = repeated(example, timing.batch_size)
        step = stored.granularity(target, timing, kept) if charged else 1
        untimed = Costs(graph, None, _rounding(graph, budget, step, round_to))
        budget.untimed.check_reachable(untimed)  # before the network is timed, which takes a while
        provider: LatencyProvider | None = None
        if charged and latency_table is None:
            rounding = rounding_of(graph, step, round_to)
            provider = stored.latency_table(dense, graph, batch, timing, step, rounding, kept)
        elif charged and latency_table is not None:
            provider = stored.read_table(latency_table, dense, graph, batch, timing)
        evaluator = Evaluator(
            dense, graph, splits, latency=provider, seed=seed, device=target, settings=evaluation
        )
        return cls(
            name,
            evaluator,
            splits,
            budget,
            recipe,
            round_to=round_to,
            granularity=step,
            store=kept,
            dynamics=dynamics,
        )

    def with_budget(self, budget: Budget) -> Problem:
        """Return the same problem at another budget; evaluations and ledger are shared."""
        return self._with(self.evaluator, budget, profiled=True)

    def fresh(self) -> Problem:
        """Return the same problem with an empty ledger, to charge another method with its own.

        What the first one measured is not known there, but for what the store keeps.
        """
        return self._with(self.evaluator.fresh(), self.budget)

    def ranked_by(self, criterion: str) -> Problem:
        """Return the same problem with channels ranked by a criterion; the ledger is shared.

        Raises:
            CriterionError: if the criterion cannot be computed here.
            UnknownNameError: if there is no such criterion.
        """
        if criterion == self.ranking:
            return self
        if criterion not in self._ranked:
            evaluator = self.evaluator.ranked(self._graph_by(criterion))
            self._ranked[criterion] = self._with(evaluator, self.budget, ranking=criterion)
        return self._ranked[criterion]

    def _graph_by(self, criterion: str) -> GroupGraph:
        if criterion not in self._graphs:
            scores = stored_scores(criterion, self.probe, self.evaluator.fingerprint, self._store)
            self._graphs[criterion] = self.graph.ranked_by(scores)
        return self._graphs[criterion]

    def _with(
        self,
        evaluator: Evaluator,
        budget: Budget,
        *,
        profiled: bool = False,
        ranking: str | None = None,
    ) -> Problem:
        """Return the same network with another evaluator or budget; its profiles may be shared."""
        other = Problem(
            self.name,
            evaluator,
            self.data,
            budget,
            self.recipe,
            round_to=self._round_to,
            granularity=self._granularity,
            sensitivity=self._sensitivity if profiled else None,
            store=self._store,
            dynamics=self.dynamics,
            ranking=ranking or self.ranking,
        )
        other._graphs = self._graphs
        if profiled:
            other._curves, other._reconstruction = self._curves, self._reconstruction
        return other

    @property
    def graph(self) -> GroupGraph:
        """The model's dependency groups."""
        return self.evaluator.graph

    @property
    def ledger(self) -> Ledger:
        """Counts of all evaluations so far."""
        return self.evaluator.ledger

    @property
    def sensitivity(self) -> Sensitivity:
        """Score of each group cut alone to half, or block removed; profile evaluations at first."""
        return self._sensitivity()

    @property
    def curves(self) -> Losses:
        """Score of each group cut alone to any width; profile evaluations at first."""
        return self._curves()

    @property
    def reconstruction(self) -> npt.NDArray[np.float64]:
        """What readers cannot make up for, one error for each of `curve_cuts`; no evaluations."""
        return self._reconstruction()

    @cached_property
    def estimated_curves(self) -> Losses:
        """The curves as far as the sensitivity and the reconstruction errors tell."""
        return estimated_curves(self.graph, self.sensitivity, self.reconstruction)

    @cached_property
    def estimated_widths(self) -> Widths:
        """What the knapsack of the estimated curves keeps under the budget."""
        return least_loss(self.costs, self.budget, self.estimated_curves)

    @cached_property
    def reference(self) -> Reference:
        """The heuristic's plan for this budget; profile evaluations on first use."""
        return heuristic(self)

    @cached_property
    def local_changes(self) -> Changes:
        """What becomes of the heuristic's plan as one group changes; profiled on first use."""
        return local_changes(self)

    @cached_property
    def probe(self) -> Probe:
        """Samples of the search split for criteria to look at."""
        evaluator = self.evaluator
        return Probe.build(
            evaluator.model, self.graph, self.data, evaluator.task, seed=evaluator.seed
        )

    def scores(self, criterion: str, normaliser: str = "none") -> ChannelScores:
        """Score the channels of every group by a criterion; no evaluations are made.

        Raises:
            CriterionError: if the criterion cannot be computed here.
            UnknownNameError: if there is no such criterion or normaliser.
        """
        return channel_scores(criterion, self.probe, normaliser)

    def decode(self, allocation: Allocation, scores: Scores | None = None) -> Plan:
        """Return the plan that an allocation means under the budget.

        Args:
            allocation: kept fractions, one per group.
            scores: which channels are best; the graph's ranking by default.
        """
        return Plan.from_widths(self.graph, self.budget.decode(self.costs, allocation), scores)

    def estimated_losses(self, widths: Widths) -> npt.NDArray[np.float64]:
        """Return the sums of what every group loses alone, and a negligible loss.

        Args:
            widths: of any number of plans; shape `(..., groups)`, `(...,)` of the result.
        """
        losses = self.estimated_curves[np.arange(widths.shape[-1]), widths].sum(axis=-1)
        return np.asarray(losses + self.sensitivity.negligible)

    def evaluate(self, plan: Plan) -> Measurement:
        """Score a plan on the search split; see `Evaluator.evaluate`."""
        return self.evaluator.evaluate(plan)

    def profile(self, plans: Sequence[Plan]) -> list[Measurement]:
        """Score plans as part of a profile, which is kept in the store."""
        return profile_plans(self.evaluator, self._store, plans)

    def uses(self) -> Ledger:
        """Return a copy of the ledger, to subtract later."""
        return copy.deepcopy(self.ledger)


def _rounding(graph: GroupGraph, budget: Budget, granularity: int, round_to: int | None) -> Widths:
    """Widths are multiples of what the device runs as fast where the budget limits latency."""
    return rounding_of(graph, granularity if budget.limits_latency else 1, round_to)


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
) -> tuple[str, nn.Module, Mapping[str, Any] | None, Dynamics | None]:
    if isinstance(model, LoadedModel):
        return model.name, model.module, model.recipe, model.dynamics
    return type(model).__name__, model, None, None
