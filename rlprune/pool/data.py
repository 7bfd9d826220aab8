"""Tasks that networks of a pool are trained on, by name, and the part of them that is used."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from rlprune.data.registry import DATA_NAMES, load_data
from rlprune.data.splits import DataSplits, Split, take
from rlprune.errors import DataError

_SIZED = re.compile(r"(?P<name>.+)-(?P<size>\d+)")


def pool_data(name: str, data_dir: Path | None = None) -> DataSplits:
    """Load a task of square images and classes.

    Args:
        name: what `load_data` takes; a built-in name may end in the size of the images, such as
            `fashion-mnist-14`.
        data_dir: where files are looked for and downloaded to; a cache folder when None.

    Raises:
        DataError: if the images are not square, or there are no classes.
    """
    sized = _SIZED.fullmatch(name)
    if sized is not None and sized["name"] in DATA_NAMES:
        data = load_data(sized["name"], data_dir=data_dir, image_size=int(sized["size"]))
    else:
        data = load_data(name, data_dir=data_dir)
    _, height, width = data.input_shape
    inputs, _ = data.train.tensors(1)
    is_image = not isinstance(inputs, tuple | dict) and inputs.ndim == 4
    if not is_image or height != width or data.num_classes < 2:
        raise DataError(
            f"{name} has inputs of {' x '.join(map(str, data.input_shape))} and "
            f"{data.num_classes} classes; the networks of a pool take square images of two classes "
            "or more"
        )
    return data


def first_of(data: DataSplits, train: int, validation: int) -> DataSplits:
    """Return a task with at most so many samples to train on and to validate with."""
    return replace(
        data, train=_first(data.train, train), validation=_first(data.validation, validation)
    )


def _first(split: Split, count: int) -> Split:
    """Return the first samples of a split, which hold the classes in proportion."""
    return replace(split, dataset=take(split.dataset, np.arange(min(count, len(split)))))
