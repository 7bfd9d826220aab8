"""A task that the user's own file makes."""

from __future__ import annotations

import numbers
from typing import Any, cast

import numpy as np
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import Dataset

from rlprune.data.splits import WHOLE_NUMBERS, SampleDataset, dataset_length, is_aim
from rlprune.errors import DataError
from rlprune.models._userfile import call_factory, user_code

_CHECKED_SAMPLES = 4


def custom(spec: str) -> tuple[SampleDataset, SampleDataset]:
    """Call ``path/to/file.py:factory`` and check the first samples of both datasets."""
    made = call_factory(spec, DataError)
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise DataError(
            f"{spec} returned {type(made).__name__}; return (train_dataset, test_dataset)"
        )
    sizes = [_checked_sizes(spec, *named) for named in zip(("train", "test"), made, strict=True)]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"{spec}: train samples are {sizes[0]} and test samples {sizes[1]}; make them the same "
            "size"
        )
    return cast(tuple[SampleDataset, SampleDataset], tuple(made))


def _checked_sizes(spec: str, role: str, dataset: object) -> str:
    """The sizes that the first samples share, if they are what is asked for."""
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
    sizes = {_sample_sizes(f"{spec}: {role} sample {i}", one) for i, one in enumerate(first)}
    if len(sizes) > 1:
        listed = ", ".join(sorted(sizes))
        raise DataError(
            f"{spec}: {role} samples differ in size ({listed}); make them the same size"
        )
    return sizes.pop()


def _sample_sizes(what: str, sample: object) -> str:
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise DataError(
            f"{what} is a {type(sample).__name__}, not a pair; yield (input, target), or "
            "(input, None) where there are no labels"
        )
    inputs, target = sample
    leaves = tree_leaves(inputs)
    allowed = isinstance(inputs, Tensor | tuple | dict) and all(map(_is_input, leaves))
    if not allowed or not leaves:
        raise DataError(
            f"{what}: the input is {_described(inputs)}; yield a tensor of floats (or of int64 "
            "tokens), or a tuple or dict of such tensors"
        )
    if is_aim(target):
        return f"{_described(inputs)} with targets {_described(target)}"
    if target is None:
        return f"{_described(inputs)} without targets"
    if not _is_class(target):
        raise DataError(
            f"{what}: the target is {target!r}; yield an integer class from 0 up, a tensor of "
            "floats to rebuild, or None"
        )
    return _described(inputs)


def _is_input(leaf: object) -> bool:
    whole = isinstance(leaf, Tensor) and leaf.dtype in WHOLE_NUMBERS
    return whole or is_aim(leaf)


def _is_class(target: object) -> bool:
    if isinstance(target, Tensor | np.ndarray):
        if target.ndim != 0:
            return False
        target = target.item()
    integral = isinstance(target, numbers.Integral) and not isinstance(target, bool)
    return integral and int(cast(int, target)) >= 0


def _described(value: object) -> str:
    """Sizes in a nested value, such as `{image: 1x8x8, tokens: 16}`; types of what is refused."""
    return str(tree_map(_leaf, value)).replace("'", "")


def _leaf(leaf: object) -> str:
    if not isinstance(leaf, Tensor):
        return type(leaf).__name__
    sizes = "x".join(map(str, leaf.shape)) or "0-dimensional"
    return sizes if _is_input(leaf) else f"{sizes} {str(leaf.dtype).removeprefix('torch.')}"
