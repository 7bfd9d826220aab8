"""Plan -> measurement on the search split, cached and counted in one ledger."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace

import torch
from torch import Tensor, nn

from rlprune.calling import Inputs, call, concatenate, main_output, split, take, to_device
from rlprune.cost.latency import LatencyMeter
from rlprune.data.splits import DataSplits, Split
from rlprune.errors import SplitError
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.tasks import Task, infer_task
from rlprune.graph.group_graph import GroupGraph
from rlprune.surgery.plan import Plan

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Measurement:
    """What one plan is worth.

    Attributes:
        score: divergence to the dense network after recalibration, a loss (KL in nats, or MSE).
        quality: accuracy in [0, 1] or PSNR in dB on the same samples, higher is better.
        macs: multiply-accumulates per sample.
        params: number of parameters.
        latency_kept: measured latency / dense latency, or None where it was not measured.
    """

    score: float
    quality: float
    macs: int
    params: int
    latency_kept: float | None = None


@dataclass
class Ledger:
    """Counts of everything that was evaluated.

    Attributes:
        evaluations: distinct plans materialised and scored.
        profile_evaluations: those made for sensitivity profiles, counted apart.
        cache_hits: requests answered from the cache.
    """

    evaluations: int = 0
    profile_evaluations: int = 0
    cache_hits: int = 0

    @classmethod
    def total(cls, ledgers: Iterable[Ledger]) -> Ledger:
        """Return the sum of several ledgers."""
        counts = [astuple(ledger) for ledger in ledgers]
        return cls(*(sum(column) for column in zip(*counts, strict=True)))

    def since(self, earlier: Ledger) -> Ledger:
        """Return what was counted after an earlier copy of this ledger."""
        return Ledger(
            self.evaluations - earlier.evaluations,
            self.profile_evaluations - earlier.profile_evaluations,
            self.cache_hits - earlier.cache_hits,
        )


class Evaluator:
    """Scores plans of one dense model on a fixed batch of the search split.

    Args:
        model: the dense model, in eval mode on `device`.
        graph: its dependency groups.
        data: the four splits; only search and validation are ever used here.
        search_images: how many samples of the search split recalibrate and score; the same for
            every plan (common random numbers).
        latency: measures candidates; None leaves `latency_kept` empty.
        seed: chooses the samples among the search split.
        device: where to evaluate.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: GroupGraph,
        data: DataSplits,
        *,
        search_images: int,
        latency: LatencyMeter | None,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model = model
        self.graph = graph
        self.device = device
        self.ledger = Ledger()
        self._latency = latency
        self._cache: dict[tuple[tuple[int, ...], ...], Measurement] = {}
        inputs, targets = _require(data.search, "search").tensors()
        chosen = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
        chosen = chosen[:search_images]
        self.inputs = to_device(take(inputs, chosen), device)
        self._targets = targets[chosen].to(device)
        self._dense_outputs = forward(model, self.inputs)
        self.task = infer_task(self._dense_outputs, self.inputs, self._targets, data.num_classes)

    @property
    def measures_latency(self) -> bool:
        """Whether candidates can be timed."""
        return self._latency is not None

    def evaluate(self, plan: Plan, *, latency: bool = False, profile: bool = False) -> Measurement:
        """Materialise, recalibrate and score a plan, or look it up.

        Args:
            plan: a plan for this evaluator's graph.
            latency: measure `latency_kept` too, where a meter was given.
            profile: count the evaluation as part of a profile.
        """
        timed = latency and self.measures_latency
        known = self._cache.get(plan.key)
        if known is not None and (known.latency_kept is not None or not timed):
            self.ledger.cache_hits += 1
            return known
        small = plan.apply(self.model)
        if known is None:
            known = self._score(plan, small)
            self.ledger.evaluations += not profile
            self.ledger.profile_evaluations += profile
        if timed and self._latency is not None:
            known = replace(known, latency_kept=self._latency.kept(small))
        self._cache[plan.key] = known
        return known

    def repaired(self, plan: Plan) -> nn.Module:
        """Return the pruned model with recalibrated BatchNorm statistics."""
        small = plan.apply(self.model)
        recalibrate(small, self.inputs)
        return small

    def _score(self, plan: Plan, small: nn.Module) -> Measurement:
        recalibrate(small, self.inputs)
        outputs = forward(small, self.inputs)
        score = float(self.task.divergence(outputs, self._dense_outputs))
        return Measurement(
            score=score if math.isfinite(score) else float("inf"),
            quality=self.task.quality(outputs, self.inputs, self._targets),
            macs=self.graph.macs(plan),
            params=self.graph.params(plan),
        )

    def validate(self, model: nn.Module, split: Split) -> float:
        """Return the task's metric of any model on the validation split.

        Raises:
            SplitError: if given another split; only reports touch test data.
        """
        return measure_quality(model, _require(split, "validation"), self.task)


def measure_quality(model: nn.Module, data: Split, task: Task) -> float:
    """Return the metric of a model over a whole split, on the model's device."""
    device = next(model.parameters()).device
    inputs, targets = to_device(data.tensors(), device)
    return task.quality(forward(model, inputs), inputs, targets)


def forward(model: nn.Module, inputs: Inputs) -> Tensor:
    """Run in batches without gradients; return the main output."""
    with torch.inference_mode():
        batches = split(inputs, EVALUATION_BATCH)
        return concatenate([main_output(call(model, batch)) for batch in batches])


def _require(split: Split, role: str) -> Split:
    if split.role != role:
        raise SplitError(
            f"a search may not use the {split.role} split here; it uses the {role} split"
        )
    return split
