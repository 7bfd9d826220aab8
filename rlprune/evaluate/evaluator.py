"""Plan -> measurement on the search split, cached and counted in one ledger."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from rlprune.cache.fingerprint import combined, of_problem
from rlprune.calling import Inputs, take, to_device
from rlprune.config import EvaluationSettings
from rlprune.data.splits import DataSplits, Split
from rlprune.errors import SplitError
from rlprune.evaluate.batches import affordable, forward
from rlprune.evaluate.least_squares import SAMPLES, LeastSquares
from rlprune.evaluate.ledger import Ledger
from rlprune.evaluate.recalibrate import recalibrate
from rlprune.evaluate.scoring import PlanScorer, Score, Scorer
from rlprune.evaluate.search_score.registry import search_score_named
from rlprune.evaluate.tasks import Task, infer_task
from rlprune.graph.group_graph import GroupGraph
from rlprune.latency.provider import LatencyProvider
from rlprune.surgery.plan import Plan


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one plan is worth.

    Attributes:
        score: search score, a loss; by default the divergence to the dense network after the
            repair by least squares (KL in nats, or MSE).
        quality: accuracy in [0, 1] or PSNR in dB on the same samples, higher is better.
        macs: multiply-accumulates per sample.
        params: number of parameters.
        latency_kept: latency / dense latency, or None where nothing is charged for it.
        is_bound: whether scoring stopped early, the score being what it is at least.
    """

    score: float
    quality: float
    macs: int
    params: int
    latency_kept: float | None = None
    is_bound: bool = False


class Evaluator:
    """Scores plans of one dense model on fixed samples of the search split.

    Args:
        model: the dense model, in eval mode on `device`.
        graph: its dependency groups.
        data: the four splits; search scores plans, train is what networks are repaired with, and
            validation is for whoever asks; test is never used here.
        latency: what candidates are charged for their latency; None leaves `latency_kept` empty.
        seed: chooses the samples among the search split; they are the same for every plan (common
            random numbers).
        device: where to evaluate.
        settings: search score, how many samples, passes and precision.

    Raises:
        UnknownNameError: if there is no such search score.

    Attributes:
        scorer: scores plans; may be replaced by one that asks other processes.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: GroupGraph,
        data: DataSplits,
        *,
        latency: LatencyProvider | None,
        seed: int,
        device: torch.device,
        settings: EvaluationSettings | None = None,
    ) -> None:
        settings = settings or EvaluationSettings()
        self.settings = settings
        self.model = model
        self.graph = graph
        self.seed = seed
        self.device = device
        self.ledger = Ledger()
        self.latency = latency
        self._cache: dict[bytes, Measurement] = {}
        self._train = _require(data.train, "train")
        inputs, targets = _require(data.search, "search").tensors()
        chosen = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
        chosen = chosen[: settings.images or affordable(graph.macs())]
        self.inputs = to_device(take(inputs, chosen), device)
        self.targets = targets[chosen].to(device)
        self.dense_outputs = forward(model, self.inputs)
        self.task = infer_task(
            self.dense_outputs, self.inputs, self.targets, data.num_classes, data.is_imitated
        )
        count = search_score_named(settings.score).training_samples
        training = to_device(self._train.tensors(count), device) if count else None
        self.scorer: PlanScorer = Scorer(
            model, graph, self.inputs, self.targets, self.task, settings, training
        )

    def fresh(self) -> Evaluator:
        """Return the same evaluator with nothing counted or known, to charge another method."""
        other = copy.copy(self)
        other.ledger = Ledger()
        other._cache = {}
        return other

    def ranked(self, graph: GroupGraph) -> Evaluator:
        """Return the same evaluator, ledger and all, for the same groups with another ranking."""
        other = copy.copy(self)
        other.graph = graph
        vars(other).pop("fingerprint", None)  # the ranking is part of it
        return other

    def evaluate(
        self, plan: Plan, *, profile: bool = False, at_most: float = math.inf
    ) -> Measurement:
        """Score one plan; see `evaluate_many`."""
        return self.evaluate_many([plan], profile=profile, at_most=at_most)[0]

    def evaluate_many(
        self, plans: Sequence[Plan], *, profile: bool = False, at_most: float = math.inf
    ) -> list[Measurement]:
        """Materialise, recalibrate and score plans, or look them up.

        Args:
            plans: for this evaluator's graph.
            profile: count the evaluations as part of a profile.
            at_most: scoring of a plan may stop once its score must exceed this; its measurement is
                then a bound and is not kept.
        """
        found: dict[bytes, Measurement] = {}
        missing: dict[bytes, Plan] = {}
        for plan in plans:
            known = self._cache.get(plan.key)
            if known is None:
                missing.setdefault(plan.key, plan)
            else:
                found[plan.key] = known
        started = time.perf_counter()
        scores = self.scorer.score(list(missing.values()), at_most) if missing else []
        self.ledger.seconds += time.perf_counter() - started
        for (key, plan), score in zip(missing.items(), scores, strict=True):
            found[key] = self._measurement(plan, score)
            if not score.is_bound:
                self._cache[key] = found[key]
        if profile:
            self.ledger.profile_evaluations += len(missing)
        else:
            self.ledger.evaluations += len(missing)
            self.ledger.scores += [score.score for score in scores]
        self.ledger.cache_hits += len(plans) - len(missing)
        return [found[plan.key] for plan in plans]

    def recall(self, plans: Sequence[Plan], scores: Sequence[Score]) -> list[Measurement]:
        """Take scores that were measured before as a profile, and charge for them like new ones.

        Args:
            plans: for this evaluator's graph.
            scores: theirs, of an evaluator with the same fingerprint.
        """
        new = {plan.key for plan in plans} - self._cache.keys()
        for plan, score in zip(plans, scores, strict=True):
            self._cache.setdefault(plan.key, self._measurement(plan, score))
        self.ledger.profile_evaluations += len(new)
        self.ledger.cache_hits += len(plans) - len(new)
        return [self._cache[plan.key] for plan in plans]

    def _measurement(self, plan: Plan, score: Score) -> Measurement:
        return Measurement(
            score=score.score,
            quality=score.quality,
            macs=self.graph.macs(plan),
            params=self.graph.params(plan),
            latency_kept=None if self.latency is None else float(self.latency.kept(plan.widths)),
            is_bound=score.is_bound,
        )

    @cached_property
    def fingerprint(self) -> str:
        """What every score depends on: weights, forward, samples, device, threads and settings."""
        problem = of_problem(self.model, self.graph, self.inputs, self.targets, self.dense_outputs)
        return combined(problem, self.task.name, self.settings.model_dump_json())

    def repaired(self, plan: Plan) -> nn.Module:
        """Return the pruned model with refitted weights and recalibrated BatchNorm statistics."""
        small = plan.apply(self.model)
        self._refit(small, self.graph.kept_outputs(plan.kept))
        recalibrate(small, self.inputs)
        return small

    @cached_property
    def _refit(self) -> LeastSquares:
        return LeastSquares(self.model, self.training_inputs(SAMPLES))

    def training_inputs(self, limit: int) -> Inputs:
        """Return the first samples of the train split, on the device."""
        return to_device(self._train.tensors(limit)[0], self.device)

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


def _require(split: Split, role: str) -> Split:
    if split.role != role:
        raise SplitError(
            f"a search may not use the {split.role} split here; it uses the {role} split"
        )
    return split
