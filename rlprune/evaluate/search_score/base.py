"""What a search score is: a repair of the pruned network, one pass over samples, and a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor, nn

from rlprune.calling import Inputs
from rlprune.evaluate.least_squares import Outputs
from rlprune.evaluate.tasks import Task
from rlprune.graph.group_graph import GroupGraph
from rlprune.surgery.plan import Plan

CostClass = Literal["none", "recalibrate", "capacity", "repair", "distil"]
"""What a score does besides one pass over the samples, which tells the quality in any case."""


@dataclass(frozen=True)
class Scene:
    """What all plans of one network are scored with.

    Attributes:
        model: the dense network, in eval mode.
        graph: its dependency groups.
        task: what divergence, quality and loss mean.
        batches: samples of the search split, as networks are given them.
        targets: of all these samples.
        training: inputs and targets of the train split, where a score learns from them.
    """

    model: nn.Module
    graph: GroupGraph
    task: Task
    batches: Sequence[Inputs]
    targets: Tensor
    training: tuple[Inputs, Tensor] | None = None


@dataclass(frozen=True)
class Candidate:
    """One plan, and what a pass over the samples said about the network that it leaves.

    Attributes:
        plan: which channels and blocks stay.
        divergence: to the dense network, >= 0; KL in nats, or MSE.
        quality: the task's metric.
    """

    plan: Plan
    divergence: float
    quality: float


Loss: TypeAlias = Callable[[Candidate], float]
"""Positive, lower is better: rewards are logarithms of ratios. Not finite where it has no value."""

Repair: TypeAlias = Callable[[nn.Module, Outputs], None]
"""Changes the weights of the network that a plan left, given which outputs of layers stayed."""


@dataclass(frozen=True)
class SearchScore:
    """One way to score plans. Whatever it is made of can be sent to another process.

    Attributes:
        name: what `--evaluation.score` calls it.
        cost: its class.
        loss: makes what turns a candidate into a number.
        repair: makes what comes before the pass; nothing by default.
        trains: whether the repair writes into the memory of weights, which then is not shared; it
            gives layers new ones otherwise.
        recalibrates: whether BatchNorm statistics are estimated anew.
        adds_up: whether the score is a mean over samples, so that a part of them bounds it.
        training_samples: of the train split that it learns from.
    """

    name: str
    cost: CostClass
    loss: Callable[[Scene], Loss]
    repair: Callable[[Scene], Repair] | None = None
    trains: bool = False
    recalibrates: bool = True
    adds_up: bool = False
    training_samples: int = 0
