"""Tasks that torchvision reads: CIFAR and folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import torch
from torch.utils.data import TensorDataset

from rlprune.data.splits import ImageDataset
from rlprune.errors import DataError, first_line
from rlprune.models._torchvision import require_torchvision

_TEST_FOLDERS = ("test", "val")


def cifar(name: Literal["CIFAR10", "CIFAR100"], root: Path) -> tuple[ImageDataset, ImageDataset]:
    """Return training and test data with values in [0, 1], downloaded into `root` if need be."""
    datasets = require_torchvision().datasets
    try:
        parts = [
            getattr(datasets, name)(str(root), train, download=True) for train in (True, False)
        ]
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{name} cannot be read from or downloaded to {root} ({first_line(error)}); fetch "
            "it where there is a network and give `--data-dir DIR`, or use `--data digits`"
        ) from error
    train, test = (
        TensorDataset(
            torch.from_numpy(part.data).permute(0, 3, 1, 2).float() / 255,
            torch.tensor(part.targets, dtype=torch.int64),
        )
        for part in parts
    )
    return cast(ImageDataset, train), cast(ImageDataset, test)


def image_folder(folder: Path, image_size: int) -> tuple[ImageDataset, ImageDataset, int]:
    """Return training data, test data and the number of classes of a folder of images.

    Args:
        folder: Holds ``train`` and ``test`` (or ``val``), each with one folder a class.
        image_size: The images' shorter side is brought to this and the centre is cut out.
    """
    train_folder = folder / "train"
    test_folder = next((folder / n for n in _TEST_FOLDERS if (folder / n).is_dir()), None)
    if not train_folder.is_dir() or test_folder is None:
        raise DataError(
            f"{folder} has no train and test (or val) folders with one sub-folder a class; type "
            "`imagefolder:DIR` with a DIR that has them"
        )
    train, test = (_read_folder(part, image_size) for part in (train_folder, test_folder))
    classes = _classes(train)
    if classes != _classes(test):
        raise DataError(
            f"{train_folder} and {test_folder} have different classes; give both the same "
            "sub-folders"
        )
    return train, test, len(classes)


def _classes(dataset: ImageDataset) -> list[str]:
    return cast(list[str], getattr(dataset, "classes", []))


def _read_folder(folder: Path, image_size: int) -> ImageDataset:
    torchvision = require_torchvision()
    transforms = torchvision.transforms
    transform = transforms.Compose(
        [
            transforms.Resize(image_size),
            transforms.CenterCrop(image_size),
            transforms.ToTensor(),
        ]
    )
    try:
        return cast(ImageDataset, torchvision.datasets.ImageFolder(str(folder), transform))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} is not a folder of image classes: {first_line(error)}"
        ) from error
