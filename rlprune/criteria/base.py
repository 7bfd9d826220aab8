"""What a criterion is: something that says how much channels, or single weights, are worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from rlprune.calling import Inputs, batch_size, call, main_output, take, to_device
from rlprune.data.splits import DataSplits
from rlprune.errors import CriterionError
from rlprune.evaluate.tasks import Task
from rlprune.graph.group_graph import GroupGraph

ChannelScores = dict[str, Tensor]
"""`{group: (width,) float64, >= 0}`, higher = keep first; a block has one score, 0."""

WeightScores = dict[str, Tensor]
"""`{parameter: float64 of its shape, >= 0}`, higher = keep first."""

Need = Literal["samples", "labels", "gradients"]
"""What a criterion looks at besides the weights."""

PROBE_SAMPLES = 2048


@dataclass(frozen=True)
class Probe:
    """A network and the samples that a criterion may look at.

    Attributes:
        model: the dense network in eval mode; a criterion leaves it as it is.
        graph: its dependency groups.
        inputs: samples of the search split, on the model's device.
        targets: theirs.
        task: what loss means.
        num_classes: how many there are; 1 where targets are tensors to rebuild.
        seed: of whatever a criterion draws.
    """

    model: nn.Module
    graph: GroupGraph
    inputs: Inputs
    targets: Tensor
    task: Task
    num_classes: int
    seed: int = 0

    @classmethod
    def build(
        cls,
        model: nn.Module,
        graph: GroupGraph,
        data: DataSplits,
        task: Task,
        *,
        samples: int = PROBE_SAMPLES,
        seed: int = 0,
    ) -> Probe:
        """Draw samples from the search split."""
        inputs, targets = data.search.tensors()
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
        chosen = order[:samples]
        device = next(model.parameters()).device
        return cls(
            model,
            graph,
            to_device(take(inputs, chosen), device),
            targets[chosen].to(device),
            task,
            data.num_classes,
            seed,
        )

    def __len__(self) -> int:
        return batch_size(self.inputs)

    @property
    def labelled(self) -> bool:
        """Whether targets are classes."""
        return not self.targets.is_floating_point()

    def batches(self, size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield inputs and targets in batches of `size`, the last one perhaps smaller."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield take(self.inputs, part), self.targets[part]

    def loss(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """Return the task's loss of the network on a batch."""
        return self.task.loss(main_output(call(self.model, inputs)), inputs, targets)


class Criterion(Protocol):
    """Scores the channels of every group; ranking only, no threshold and no normaliser."""

    name: str
    needs: frozenset[Need]

    def channels(self, probe: Probe) -> ChannelScores:
        """Return one score per root channel of every group."""


@runtime_checkable
class WeightCriterion(Criterion, Protocol):
    """A criterion that also scores single weights."""

    def weights(self, probe: Probe) -> WeightScores:
        """Return one score per element of every parameter with two or more dimensions."""


def check_needs(criterion: Criterion, probe: Probe) -> None:
    """Refuse a criterion that cannot be computed on a probe.

    Raises:
        CriterionError: if samples, labels or gradients are needed and missing.
    """
    name, needs = criterion.name, criterion.needs
    if needs and not len(probe):
        raise CriterionError(f"criterion {name!r} needs samples, and the probe set is empty")
    if "labels" in needs and not probe.labelled:
        raise CriterionError(
            f"criterion {name!r} needs classes as labels, and this task has none; "
            "take one without labels, such as l2, fpgm or apoz"
        )
    if "labels" in needs and probe.targets.min() == probe.targets.max():
        raise CriterionError(
            f"criterion {name!r} compares classes, and the probe set holds only one"
        )
    frozen = [key for key, value in probe.model.named_parameters() if not value.requires_grad]
    if "gradients" in needs and frozen:
        raise CriterionError(
            f"criterion {name!r} needs gradients, and {len(frozen)} parameters are frozen, the "
            f"first being {frozen[0]!r}; call model.requires_grad_(True), or take a criterion "
            "without gradients, such as l2"
        )


def check_scores(criterion: Criterion, scores: ChannelScores | WeightScores) -> None:
    """Refuse scores that do not rank anything.

    Args:
        criterion: that gave them.
        scores: of groups or of parameters, by name.

    Raises:
        CriterionError: if one is not a number.
    """
    for name, values in scores.items():
        if not values.isfinite().all():
            raise CriterionError(
                f"criterion {criterion.name!r} gives {name!r} scores that are not finite; the "
                "network's weights, activations or gradients there are not either"
            )
