"""A task that the user's own file makes."""

from __future__ import annotations

import numbers
from typing import Any, cast

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from rlprune.data.splits import ImageDataset, dataset_length
from rlprune.errors import DataError
from rlprune.models._userfile import call_factory, user_code

_CHECKED_SAMPLES = 4


def custom(spec: str) -> tuple[ImageDataset, ImageDataset]:
    """Call ``path/to/file.py:factory`` and check the first samples of both datasets."""
    made = call_factory(spec, DataError)
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise DataError(
            f"{spec} returned {type(made).__name__}; return (train_dataset, test_dataset)"
        )
    shapes = [_checked_shape(spec, *named) for named in zip(("train", "test"), made, strict=True)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{spec}: train images are {_sizes(shapes[0])} and test images {_sizes(shapes[1])}; "
            "make them the same size"
        )
    return cast(tuple[ImageDataset, ImageDataset], tuple(made))


def _checked_shape(spec: str, role: str, dataset: object) -> tuple[int, ...]:
    """The shape that the first samples share, if they are what is asked for."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise DataError(
            f"{spec}: the {role} dataset is a {type(dataset).__name__} without __len__ and "
            "__getitem__; return a map-style torch.utils.data.Dataset"
        )
    samples = cast(Dataset[Any], dataset)
    with user_code(f"{spec}: reading the {role} dataset", DataError):
        first = [samples[i] for i in range(min(_CHECKED_SAMPLES, dataset_length(samples)))]
    if not first:
        raise DataError(f"{spec}: the {role} dataset is empty; return at least a few samples")
    shapes = {_sample_shape(f"{spec}: {role} sample {i}", one) for i, one in enumerate(first)}
    if len(shapes) > 1:
        listed = ", ".join(sorted(_sizes(shape) for shape in shapes))
        raise DataError(f"{spec}: {role} images differ in size ({listed}); make them the same size")
    return shapes.pop()


def _sample_shape(what: str, sample: object) -> tuple[int, ...]:
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise DataError(f"{what} is a {type(sample).__name__}, not a pair; yield (image, class)")
    image, target = sample
    if not isinstance(image, Tensor) or image.ndim != 3 or not image.is_floating_point():
        found = (
            f"a {_sizes(tuple(image.shape))} {str(image.dtype).removeprefix('torch.')} tensor"
            if isinstance(image, Tensor)
            else f"a {type(image).__name__}"
        )
        raise DataError(
            f"{what}: the image is {found}; yield a float tensor of channels x height x width"
        )
    if not _is_class(target):
        raise DataError(f"{what}: the target is {target!r}; yield an integer class from 0 up")
    return tuple(image.shape)


def _is_class(target: object) -> bool:
    if isinstance(target, Tensor | np.ndarray):
        if target.ndim != 0:
            return False
        target = target.item()
    integral = isinstance(target, numbers.Integral) and not isinstance(target, bool)
    return integral and int(cast(int, target)) >= 0


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape) or "0-dimensional"
