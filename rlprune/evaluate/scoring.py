"""Plan -> search score: materialise, repair, recalibrate and run the search batch, in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rlprune.calling import (
    Inputs,
    batch_size,
    call,
    concatenate,
    main_output,
)
from rlprune.config import EvaluationSettings, Precision
from rlprune.evaluate.batches import batches_of, in_fastest_layout
from rlprune.evaluate.recalibrate import collecting_statistics, recalibrate
from rlprune.evaluate.search_score.base import Candidate, Scene
from rlprune.evaluate.search_score.registry import search_score_named
from rlprune.evaluate.tasks import Task
from rlprune.graph.group_graph import GroupGraph
from rlprune.machine import keep_freed_memory
from rlprune.surgery.plan import Plan
from rlprune.surgery.pool import Pool

_ROUNDING = 1e-5  # a sum of means is not quite the mean of all


@dataclass(frozen=True)
class Score:
    """What a plan does to the outputs.

    Attributes:
        score: a loss, see `rlprune.evaluate.search_score`; infinite where it has no value.
        quality: the task's metric.
        is_bound: whether scoring stopped early: then `score` is what it is at least, and `quality`
            is that of the samples seen.
    """

    score: float
    quality: float
    is_bound: bool = False


INFEASIBLE = Score(math.inf, -math.inf)
"""Of a plan whose network does not fit into memory."""


class PlanScorer(Protocol):
    """Scores plans of one network, in this process or in others."""

    @property
    def lanes(self) -> int:
        """How many plans are scored at the same time."""

    def score(self, plans: Sequence[Plan], at_most: float = math.inf) -> list[Score]:
        """Return the score of each plan; one may stop as soon as it must exceed `at_most`."""


class Scorer:
    """Scores plans one after the other on samples that stay on the device.

    Args:
        model: the dense model, in eval mode.
        graph: its dependency groups.
        inputs: samples on the model's device.
        targets: theirs.
        task: what divergence and quality mean.
        settings: search score, passes and precision.
        training: inputs and targets of the train split, where the score learns from them.

    Raises:
        UnknownNameError: if there is no such search score.
    """

    lanes = 1

    def __init__(
        self,
        model: nn.Module,
        graph: GroupGraph,
        inputs: Inputs,
        targets: Tensor,
        task: Task,
        settings: EvaluationSettings,
        training: tuple[Inputs, Tensor] | None = None,
    ) -> None:
        self._kind = search_score_named(settings.score)
        self._model = model
        self._graph = graph
        self._task = task
        self._settings = settings
        self._inputs, self._targets = inputs, targets
        keep_freed_memory()
        self._batches = batches_of(in_fastest_layout(model, inputs), settings.batch_size)
        self._dtype = _autocast_dtype(settings.precision, targets.device)
        with torch.inference_mode():
            self._dense = [self._run(model, batch) for batch in self._batches]
        scene = Scene(model, graph, task, self._batches, targets, training)
        self._loss = self._kind.loss(scene)
        self._repair = None if self._kind.repair is None else self._kind.repair(scene)

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self._model, self._graph)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_pool"}

    @property
    def passes(self) -> int:
        """Forward passes over all samples per plan, without what a repair takes."""
        separate = self._kind.recalibrates and self._settings.passes == "separate"
        return 2 if separate else 1

    def score(self, plans: Sequence[Plan], at_most: float = math.inf) -> list[Score]:
        """Score plans in turn; one whose network does not fit into memory is infeasible."""
        scores = []
        for plan in plans:
            try:
                scores.append(self._score(plan, at_most))
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                scores.append(INFEASIBLE)
        return scores

    def _score(self, plan: Plan, at_most: float) -> Score:
        small = self._materialised(plan)
        if self._kind.recalibrates and self._settings.passes == "separate":
            recalibrate(small, self._inputs)
        shared = self._kind.recalibrates and self._settings.passes == "shared"
        with collecting_statistics(small) if shared else nullcontext(), torch.inference_mode():
            outputs, bound = self._outputs(small, at_most)
            quality = self._quality(outputs)
            if bound is not None:
                return Score(bound, quality, is_bound=True)
            divergence = self._task.divergence(torch.cat(outputs), torch.cat(self._dense))
        score = self._loss(Candidate(plan, float(divergence), quality))
        return Score(score if math.isfinite(score) else math.inf, quality)

    def _materialised(self, plan: Plan) -> nn.Module:
        if self._repair is None:
            return self._pool.materialise(plan)
        if self._kind.trains:
            small, outputs = plan.apply(self._model), self._graph.kept_outputs(plan.kept)
        else:
            small, outputs = self._pool.materialise(plan), self._pool.outputs(plan)
        self._repair(small, outputs)
        return small

    def _outputs(self, small: nn.Module, at_most: float) -> tuple[list[Tensor], float | None]:
        """Return outputs of all batches; of the first ones, and a bound, where these suffice."""
        total = batch_size(self._inputs)
        outputs: list[Tensor] = []
        partial = 0.0
        for batch, dense in zip(self._batches, self._dense, strict=True):
            outputs.append(self._run(small, batch))
            last = len(outputs) == len(self._batches)
            if at_most < math.inf and self._kind.adds_up and not last:
                partial += float(self._task.divergence(outputs[-1], dense)) * len(dense) / total
                if partial > at_most * (1 + _ROUNDING):
                    return outputs, partial
        return outputs, None

    def _quality(self, outputs: list[Tensor]) -> float:
        seen = torch.cat(outputs)
        inputs = concatenate(self._batches[: len(outputs)])
        return self._task.quality(seen, inputs, self._targets[: len(seen)])

    def _run(self, model: nn.Module, batch: Inputs) -> Tensor:
        device = self._targets.device.type
        lower = nullcontext() if self._dtype is None else torch.autocast(device, self._dtype)
        with lower:
            return main_output(call(model, batch)).float()


def _autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    if precision != "auto":
        return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _computes_bfloat16() else None


def _computes_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; emulated, it is slower than float32."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
