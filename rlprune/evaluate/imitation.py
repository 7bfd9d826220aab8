"""Data without labels: what the dense network predicts takes their place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from rlprune.calling import Inputs, to_device
from rlprune.data.splits import (
    UNLABELLED,
    DataSplits,
    SampleDataset,
    Split,
    dataset_length,
)
from rlprune.evaluate.batches import forward

_AT_ONCE = 256


def imitated(model: nn.Module, data: DataSplits) -> DataSplits:
    """Return splits whose classes are a network's predictions, where there are no labels.

    Nothing changes where there are, or where the network returns something else than logits: its
    inputs are rebuilt then.

    Args:
        model: in eval mode; it must stay as it is.
        data: any.
    """
    inputs, targets = data.search.tensors(2)
    if targets.is_floating_point() or int(targets.min()) > UNLABELLED:
        return data
    outputs = forward(model, to_device(inputs, next(model.parameters()).device))
    if outputs.ndim > 2:  # no logits: the inputs are to be rebuilt
        return data

    predicted = data.mapped(lambda dataset: cast(SampleDataset, Predicted(model, dataset)))
    return replace(predicted, num_classes=outputs.shape[1], is_imitated=True)


class Predicted(Dataset[tuple[Inputs, int]]):
    """Samples with the class that a network predicts, once it is asked for.

    Args:
        model: in eval mode.
        dataset: what stands in place of labels is not read.
    """

    def __init__(self, model: nn.Module, dataset: SampleDataset) -> None:
        self._model, self._dataset = model, dataset
        self._known: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return dataset_length(self._dataset)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        number, place = divmod(index, _AT_ONCE)
        if number not in self._known:
            self._known[number] = self._predicted(number * _AT_ONCE)
        return self._dataset[index][0], int(self._known[number][place])

    def _predicted(self, start: int) -> Tensor:
        some = Subset(self._dataset, range(start, min(start + _AT_ONCE, len(self))))
        inputs, _ = Split("search", some).tensors()
        device = next(self._model.parameters()).device
        return forward(self._model, to_device(inputs, device)).argmax(1).cpu()
