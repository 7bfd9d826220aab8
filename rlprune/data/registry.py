"""From what a user types after ``--data`` to four splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rlprune.data.custom import custom
from rlprune.data.digits import digits
from rlprune.data.fashion_mnist import fashion_mnist
from rlprune.data.splits import DataSplits, ImageDataset, SampleDataset, carve
from rlprune.data.torchvision_data import cifar, image_folder
from rlprune.data.transforms import resize, standardise
from rlprune.errors import DataError, UnknownNameError
from rlprune.models._userfile import is_user_file

DATA_NAMES = ("digits", "fashion-mnist", "cifar10", "cifar100", "imagefolder:DIR")
_FOLDER_PREFIX = "imagefolder:"
_FOLDER_IMAGE_SIZE = 64
_SMALLEST_IMAGE = 4


def load_data(
    spec: str, *, data_dir: Path | None = None, image_size: int | None = None
) -> DataSplits:
    """Load a task.

    Args:
        spec: One of `DATA_NAMES`, or ``path/to/file.py:factory`` for a function without arguments
            that returns a training and a test dataset.
        data_dir: Where files are looked for and downloaded to; a cache folder when None.
        image_size: Resize the images to this; their own size when None.

    Returns:
        Four disjoint splits. Built-in images are standardised with the train remainder's mean and
        deviation; inputs of a user's factory stay as they are, because the user's model was
        trained on them.
    """
    if image_size is not None and image_size < _SMALLEST_IMAGE:
        raise DataError(f"image size {image_size} is too small; type {_SMALLEST_IMAGE} or more")
    if is_user_file(spec):
        train, test = custom(spec)
        return carve(spec, *_resized(train, test, image_size))
    if spec.startswith(_FOLDER_PREFIX):
        size = image_size or _FOLDER_IMAGE_SIZE
        train, test, classes = image_folder(Path(spec.removeprefix(_FOLDER_PREFIX)), size)
        return standardise(carve(spec, train, test, classes))
    load, classes = _built_in(spec, data_dir)
    return standardise(carve(spec, *_resized(*load(), image_size), num_classes=classes))


def _built_in(
    name: str, data_dir: Path | None
) -> tuple[Callable[[], tuple[ImageDataset, ImageDataset]], int]:
    """The loader and the number of classes of a task that is known by name."""
    cache = Path.home() / ".cache" / "rlprune"
    known: dict[str, tuple[Callable[[], tuple[ImageDataset, ImageDataset]], int]] = {
        "digits": (digits, 10),
        "fashion-mnist": (lambda: fashion_mnist(data_dir, cache), 10),
        "cifar10": (lambda: cifar("CIFAR10", data_dir or cache), 10),
        "cifar100": (lambda: cifar("CIFAR100", data_dir or cache), 100),
    }
    if name not in known:
        raise UnknownNameError("data", name, (*DATA_NAMES, "path/to/file.py:factory"))
    return known[name]


def _resized(
    train: SampleDataset, test: SampleDataset, image_size: int | None
) -> tuple[SampleDataset, SampleDataset]:
    if image_size is None:
        return train, test
    return resize(train, image_size), resize(test, image_size)
