"""What happens to images before a network sees them: resizing and standardising.

Other inputs than single images stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from rlprune.data.splits import (
    DataSplits,
    ImageDataset,
    SampleDataset,
    dataset_length,
    is_aim,
)
from rlprune.errors import DataError

_STATISTICS_LIMIT = 2048
_IMAGE_DIMS = 3


class MappedImages(Dataset[tuple[Tensor, Any]]):
    """A dataset whose images pass through a batch function, one at a time."""

    def __init__(self, dataset: ImageDataset, function: Callable[[Tensor], Tensor]) -> None:
        self.dataset = dataset
        self.function = function
        targets: object = getattr(dataset, "targets", None)
        if targets is not None:
            self.targets = targets

    def __len__(self) -> int:
        return dataset_length(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        image, target = self.dataset[index]
        return self.function(image[None])[0], target


def map_images(dataset: ImageDataset, function: Callable[[Tensor], Tensor]) -> ImageDataset:
    """Apply a function of NCHW batches: at once in memory, lazily otherwise."""
    if isinstance(dataset, TensorDataset):
        images, targets = dataset.tensors
        return cast(ImageDataset, TensorDataset(function(images), targets))
    return MappedImages(dataset, function)


def resize(dataset: SampleDataset, image_size: int) -> ImageDataset:
    """Bring all images to a square size (bilinear, antialiased).

    Raises:
        DataError: if the dataset's inputs are no single images, or its targets have sizes too.
    """
    first, target = dataset[0]
    if not isinstance(first, Tensor) or first.ndim != _IMAGE_DIMS or is_aim(target):
        raise DataError(
            "only single images (channels x height x width) with a class are resized; leave out "
            "`--image-size`"
        )

    def resized(images: Tensor) -> Tensor:
        if tuple(images.shape[-2:]) == (image_size, image_size):
            return images
        return functional.interpolate(
            images, size=(image_size, image_size), mode="bilinear", antialias=True
        )

    return map_images(cast(ImageDataset, dataset), resized)


def standardise(splits: DataSplits) -> DataSplits:
    """Give every channel of images mean 0 and deviation 1, as measured on the train remainder."""
    in_memory = isinstance(splits.train.dataset, TensorDataset)
    images, _ = splits.train.tensors(None if in_memory else _STATISTICS_LIMIT)
    deviation, mean = torch.std_mean(cast(Tensor, images), dim=(0, 2, 3), keepdim=True)
    deviation = deviation.clamp_min(1e-6)

    def standardised(dataset: SampleDataset) -> SampleDataset:
        return map_images(cast(ImageDataset, dataset), lambda x: (x - mean) / deviation)

    return splits.mapped(standardised)
