"""The four roles of data, carved so that no sample plays two of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from rlprune.calling import Inputs, tensors_in
from rlprune.errors import DataError

Role = Literal["train", "search", "validation", "test"]
SampleDataset = Dataset[tuple[Inputs, Any]]
ImageDataset = Dataset[tuple[Tensor, Any]]

WHOLE_NUMBERS = (torch.int64, torch.int32, torch.bool)
"""Types of inputs that stay as they are, such as tokens; all others become float32."""

UNLABELLED = -1
"""Stands for the class of a sample whose target is None."""

# Shipped weights were trained on the train remainder of this seed, so no run may change it.
_SPLIT_SEED = 0
_SEARCH_LIMIT, _VALIDATION_LIMIT, _CARVED_FRACTION = 2048, 5000, 0.15


@dataclass(frozen=True)
class Split:
    """The samples of one role, in an order that is already shuffled."""

    role: Role
    dataset: SampleDataset

    def __len__(self) -> int:
        return dataset_length(self.dataset)

    def tensors(self, limit: int | None = None) -> tuple[Inputs, Tensor]:
        """Stack the first samples.

        Args:
            limit: How many; all of them when None. Any prefix holds the classes in proportion.

        Returns:
            Inputs, of images one tensor (float32, NCHW), and targets: classes (int64), or tensors
            to rebuild (float32).
        """
        count = len(self) if limit is None else min(limit, len(self))
        if isinstance(self.dataset, TensorDataset):
            inputs, targets = self.dataset.tensors
            return inputs[:count], targets[:count]
        return _stack([self.dataset[index] for index in range(count)])

    def loader(
        self, batch_size: int, shuffle: bool = False, seed: int = 0, drop_last: bool = False
    ) -> Iterable[tuple[Inputs, Tensor]]:
        """Iterate over batches of inputs and targets, as `tensors` returns them.

        Args:
            batch_size: Samples in a batch.
            shuffle: Draw a new order for every pass.
            seed: Where the orders start; the same seed gives the same sequence of passes.
            drop_last: Leave out a last batch that is not full.
        """
        sampler: Sampler[int] = SequentialSampler(self.dataset)  # type: ignore[arg-type]
        if shuffle:
            generator = torch.Generator().manual_seed(seed)
            sampler = RandomSampler(self.dataset, generator=generator)  # type: ignore[arg-type]
        if isinstance(self.dataset, TensorDataset):
            # One indexing operation a batch instead of one a sample: 20x faster on small images.
            batches = BatchSampler(sampler, batch_size, drop_last)
            return DataLoader(self.dataset, batch_size=None, sampler=batches, collate_fn=tuple)
        return DataLoader(
            self.dataset, batch_size, sampler=sampler, drop_last=drop_last, collate_fn=_stack
        )


@dataclass(frozen=True)
class DataSplits:
    """One task: four disjoint splits and what a model must know to fit it.

    Attributes:
        num_classes: 1 where the targets are tensors to rebuild, or None.
        input_shape: channels, height and width of an image; of other inputs, the first three sizes
            of the first tensor, filled up with ones.
        is_imitated: whether classes are a network's predictions, for want of labels.
    """

    name: str
    train: Split
    search: Split
    validation: Split
    test: Split
    num_classes: int
    input_shape: tuple[int, int, int]
    is_imitated: bool = False

    @property
    def tag(self) -> str:
        """Name and image size, such as ``digits-8``; shipped weights are found by it."""
        _, height, width = self.input_shape
        size = str(height) if height == width else f"{height}x{width}"
        return f"{re.sub(r'[^A-Za-z0-9]+', '-', self.name).strip('-')}-{size}"

    def mapped(self, function: Callable[[SampleDataset], SampleDataset]) -> DataSplits:
        """Return the same splits of other datasets, which a function makes of each."""

        def of(split: Split) -> Split:
            return replace(split, dataset=function(split.dataset))

        return replace(
            self,
            train=of(self.train),
            search=of(self.search),
            validation=of(self.validation),
            test=of(self.test),
        )


def carve(
    name: str, train: SampleDataset, test: SampleDataset, num_classes: int | None = None
) -> DataSplits:
    """Carve search and validation from the training data, by class and with a fixed seed.

    Args:
        name: The task's name.
        train: Training data; search takes min(2048, 15 %) of it, validation min(5000, 15 %).
        test: Test data, kept whole.
        num_classes: How many; the largest training class plus one when None.

    Returns:
        Four disjoint splits.
    """
    count, test_count = dataset_length(train), dataset_length(test)
    searched = min(_SEARCH_LIMIT, int(_CARVED_FRACTION * count))
    validated = min(_VALIDATION_LIMIT, int(_CARVED_FRACTION * count))
    if min(searched, validated, test_count) == 0:
        raise DataError(
            f"{name} has {count} training and {test_count} test samples; at least 7 "
            "for training and 1 for testing are needed: supply more samples"
        )
    classes = dataset_classes(train)
    order = _stratified_order(classes)
    search, validation, rest = np.split(order, [searched, searched + validated])
    first = tensors_in(train[int(order[0])][0])[0]
    return DataSplits(
        name=name,
        train=Split("train", take(train, rest)),
        search=Split("search", take(train, search)),
        validation=Split("validation", take(train, validation)),
        test=Split("test", take(test, _stratified_order(dataset_classes(test)))),
        num_classes=max(1, int(classes.max()) + 1) if num_classes is None else num_classes,
        input_shape=cast(tuple[int, int, int], (*first.shape, 1, 1, 1)[:3]),
    )


def dataset_length(dataset: SampleDataset) -> int:
    """How many samples a map-style dataset holds."""
    return len(cast(Sequence[object], dataset))


def is_aim(target: object) -> bool:
    """Whether a target is a tensor to rebuild, not a class."""
    return isinstance(target, Tensor) and target.is_floating_point()


def dataset_classes(dataset: SampleDataset) -> NDArray[np.int64]:
    """Return every sample's class, all 0 where targets are tensors to rebuild or None.

    Images are not decoded, but for one, where the dataset keeps targets apart.
    """
    if is_aim(dataset[0][1]) or dataset[0][1] is None:
        return np.zeros(dataset_length(dataset), dtype=np.int64)
    if isinstance(dataset, TensorDataset):
        return np.asarray(dataset.tensors[1], dtype=np.int64)
    kept: object = getattr(dataset, "targets", None)
    if isinstance(kept, list | Tensor | np.ndarray) and len(kept) == dataset_length(dataset):
        return np.asarray(kept, dtype=np.int64)
    return np.array(
        [int(dataset[index][1]) for index in range(dataset_length(dataset))], dtype=np.int64
    )


def take(dataset: SampleDataset, indices: NDArray[np.int64]) -> SampleDataset:
    """Select samples, in memory where the dataset is in memory."""
    if isinstance(dataset, TensorDataset):
        chosen = torch.from_numpy(indices)
        return cast(SampleDataset, TensorDataset(*(t[chosen] for t in dataset.tensors)))
    return Subset(dataset, indices.tolist())


def _stratified_order(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """A shuffled order of which every stretch holds the classes in proportion.

    The members of each class are shuffled and spread evenly, with jitter, over [0, 1).
    """
    generator = np.random.default_rng(_SPLIT_SEED)
    position = np.empty(len(targets))
    for label in np.unique(targets):
        members = generator.permutation(np.flatnonzero(targets == label))
        position[members] = (np.arange(len(members)) + generator.random(len(members))) / len(
            members
        )
    return np.argsort(position, kind="stable")


def _stack(samples: Sequence[tuple[Inputs, Any]]) -> tuple[Inputs, Tensor]:
    """Turn samples into one batch."""
    inputs, targets = zip(*samples, strict=True)
    batch = cast(Inputs, tree_map(lambda *parts: _as_read(torch.stack(parts)), *inputs))
    if is_aim(targets[0]):
        return batch, torch.stack(targets).float()
    classes = [UNLABELLED if target is None else int(target) for target in targets]
    return batch, torch.tensor(classes, dtype=torch.int64)


def _as_read(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype in WHOLE_NUMBERS else tensor.float()
