from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from rlprune.data import DataSplits, Split, carve
from rlprune.data.splits import ImageDataset, dataset_classes
from rlprune.errors import DataError


def numbered(count: int, classes: int, seed: int = 0) -> ImageDataset:
    """Images that carry their own index, so that they can be told apart."""
    targets = torch.from_numpy(np.random.default_rng(seed).integers(classes, size=count))
    images = torch.arange(count, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return cast(ImageDataset, TensorDataset(images, targets))


class OneByOne(Dataset[tuple[Tensor, Any]]):
    """The same samples behind a plain map-style dataset."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.images, self.labels = cast(TensorDataset, dataset).tensors

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.images[index], int(self.labels[index])


def roles(splits: DataSplits) -> tuple[Split, Split, Split]:
    return splits.train, splits.search, splits.validation


def indices(split: Split) -> set[int]:
    return {int(image[0, 0, 0]) for image in split.tensors()[0]}


@settings(max_examples=25)
@given(count=st.integers(7, 3000), classes=st.integers(1, 10), seed=st.integers(0, 99))
def test_the_splits_of_the_training_data_are_disjoint_and_lose_nothing(
    count: int, classes: int, seed: int
) -> None:
    splits = carve("numbers", numbered(count, classes, seed), numbered(5, classes))
    parts = [indices(split) for split in roles(splits)]
    assert sum(len(part) for part in parts) == count
    assert set.union(*parts) == set(range(count))


def test_search_and_validation_have_their_sizes_capped() -> None:
    small = carve("numbers", numbered(1000, 10), numbered(5, 10))
    assert (len(small.train), len(small.search), len(small.validation)) == (700, 150, 150)
    large = carve("numbers", numbered(40_000, 10), numbered(5, 10))
    assert (len(large.search), len(large.validation)) == (2048, 5000)


def test_every_split_and_every_prefix_holds_the_classes_in_proportion() -> None:
    data = numbered(4000, 7)
    share = np.bincount(dataset_classes(data)) / 4000
    for split in roles(carve("numbers", data, numbered(5, 7))):
        for limit in (100, None):
            _, targets = split.tensors(limit)
            counts = np.bincount(targets.numpy(), minlength=7)
            assert np.abs(counts - share * len(targets)).max() <= 2


def test_a_test_set_that_is_sorted_by_class_is_shuffled() -> None:
    images, _ = cast(TensorDataset, numbered(200, 2)).tensors
    ordered = cast(ImageDataset, TensorDataset(images, torch.arange(200) // 100))
    _, targets = carve("numbers", numbered(100, 2), ordered).test.tensors(20)
    assert 8 <= int(targets.sum()) <= 12


def test_carving_twice_gives_the_same_splits() -> None:
    first, second = (carve("numbers", numbered(500, 3), numbered(50, 3)) for _ in range(2))
    for one, other in zip(roles(first), roles(second), strict=True):
        assert torch.equal(one.tensors()[0], other.tensors()[0])


def test_a_plain_dataset_gives_the_same_splits_and_batches_as_tensors_in_memory() -> None:
    data, test = numbered(300, 4), numbered(30, 4)
    fast, slow = carve("numbers", data, test), carve("numbers", OneByOne(data), OneByOne(test))
    for one, other in zip(roles(fast), roles(slow), strict=True):
        for options in ({"shuffle": False}, {"shuffle": True, "drop_last": True}):
            pairs = zip(
                one.loader(32, **options),
                other.loader(32, **options),
                strict=True,
            )
            for (images, targets), (other_images, other_targets) in pairs:
                assert torch.equal(images, other_images)
                assert torch.equal(targets, other_targets)
                assert images.dtype is torch.float32
                assert other_targets.dtype is torch.int64


def test_a_shuffled_loader_draws_new_but_reproducible_orders() -> None:
    split = carve("numbers", numbered(300, 4), numbered(30, 4)).train
    loaders = [split.loader(50, shuffle=True, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (
        [torch.cat([images[:, 0, 0, 0] for images, _ in loader]) for _ in range(2)]
        for loader in loaders
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_a_limit_takes_the_first_samples() -> None:
    split = carve("numbers", numbered(300, 4), numbered(30, 4)).train
    assert torch.equal(split.tensors(10)[0], split.tensors()[0][:10])
    assert len(split.tensors(10_000)[1]) == len(split)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(DataError, match="6 training and 5 test samples; at least 7"):
        carve("numbers", numbered(6, 2), numbered(5, 2))


def test_the_tag_is_the_name_and_the_image_size() -> None:
    splits = carve("my/file.py:make", numbered(50, 2), numbered(5, 2))
    assert splits.tag == "my-file-py-make-2"
