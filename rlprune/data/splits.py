"""The four roles of data, carved so that no sample plays two of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
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

from rlprune.errors import DataError

Role = Literal["train", "search", "validation", "test"]
ImageDataset = Dataset[tuple[Tensor, Any]]

# Shipped weights were trained on the train remainder of this seed, so no run may change it.
_SPLIT_SEED = 0
_SEARCH_LIMIT, _VALIDATION_LIMIT, _CARVED_FRACTION = 2048, 5000, 0.15


@dataclass(frozen=True)
class Split:
    """The samples of one role, in an order that is already shuffled."""

    role: Role
    dataset: ImageDataset

    def __len__(self) -> int:
        return dataset_length(self.dataset)

    def tensors(self, limit: int | None = None) -> tuple[Tensor, Tensor]:
        """Stack the first samples.

        Args:
            limit: How many; all of them when None. Any prefix holds the classes in proportion.

        Returns:
            Images (float32, NCHW) and targets (int64).
        """
        count = len(self) if limit is None else min(limit, len(self))
        if isinstance(self.dataset, TensorDataset):
            images, targets = self.dataset.tensors
            return images[:count], targets[:count]
        return _stack([self.dataset[index] for index in range(count)])

    def loader(
        self, batch_size: int, shuffle: bool = False, seed: int = 0, drop_last: bool = False
    ) -> Iterable[tuple[Tensor, Tensor]]:
        """Iterate over batches of images (float32, NCHW) and targets (int64).

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
    """One task: four disjoint splits and what a model must know to fit it."""

    name: str
    train: Split
    search: Split
    validation: Split
    test: Split
    num_classes: int
    input_shape: tuple[int, int, int]

    @property
    def tag(self) -> str:
        """Name and image size, such as ``digits-8``; shipped weights are found by it."""
        _, height, width = self.input_shape
        size = str(height) if height == width else f"{height}x{width}"
        return f"{re.sub(r'[^A-Za-z0-9]+', '-', self.name).strip('-')}-{size}"


def carve(
    name: str, train: ImageDataset, test: ImageDataset, num_classes: int | None = None
) -> DataSplits:
    """Carve search and validation from the training data, by class and with a fixed seed.

    Args:
        name: The task's name.
        train: Training data; search takes min(2048, 15 %) of it, validation min(5000, 15 %).
        test: Test data, kept whole.
        num_classes: How many; the largest training target plus one when None.

    Returns:
        Four disjoint splits.
    """
    targets, test_targets = dataset_targets(train), dataset_targets(test)
    searched = min(_SEARCH_LIMIT, int(_CARVED_FRACTION * len(targets)))
    validated = min(_VALIDATION_LIMIT, int(_CARVED_FRACTION * len(targets)))
    if min(searched, validated, len(test_targets)) == 0:
        raise DataError(
            f"{name} has {len(targets)} training and {len(test_targets)} test samples; at least 7 "
            "for training and 1 for testing are needed: supply more samples"
        )
    order = _stratified_order(targets)
    search, validation, rest = np.split(order, [searched, searched + validated])
    images = train[int(order[0])][0]
    return DataSplits(
        name=name,
        train=Split("train", take(train, rest)),
        search=Split("search", take(train, search)),
        validation=Split("validation", take(train, validation)),
        test=Split("test", take(test, _stratified_order(test_targets))),
        num_classes=int(targets.max()) + 1 if num_classes is None else num_classes,
        input_shape=cast(tuple[int, int, int], tuple(images.shape)),
    )


def dataset_length(dataset: ImageDataset) -> int:
    """How many samples a map-style dataset holds."""
    return len(cast(Sequence[object], dataset))


def dataset_targets(dataset: ImageDataset) -> NDArray[np.int64]:
    """Return all targets, without decoding images where the dataset keeps targets apart."""
    if isinstance(dataset, TensorDataset):
        return np.asarray(dataset.tensors[1], dtype=np.int64)
    kept: object = getattr(dataset, "targets", None)
    if isinstance(kept, list | Tensor | np.ndarray) and len(kept) == dataset_length(dataset):
        return np.asarray(kept, dtype=np.int64)
    return np.array(
        [int(dataset[index][1]) for index in range(dataset_length(dataset))], dtype=np.int64
    )


def take(dataset: ImageDataset, indices: NDArray[np.int64]) -> ImageDataset:
    """Select samples, in memory where the dataset is in memory."""
    if isinstance(dataset, TensorDataset):
        chosen = torch.from_numpy(indices)
        return cast(ImageDataset, TensorDataset(*(t[chosen] for t in dataset.tensors)))
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


def _stack(samples: Sequence[tuple[Tensor, Any]]) -> tuple[Tensor, Tensor]:
    """Turn samples into one batch."""
    images = torch.stack([image for image, _ in samples]).float()
    return images, torch.tensor([int(target) for _, target in samples], dtype=torch.int64)
