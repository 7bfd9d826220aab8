"""Fashion-MNIST, 1 x 28 x 28, read from its four idx files."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from rlprune.data.splits import ImageDataset
from rlprune.errors import DataError, ModelError
from rlprune.models._torchvision import require_torchvision

NUM_CLASSES = 10
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_TORCHVISION_FOLDER = Path("FashionMNIST", "raw")
_UNSIGNED_BYTE = 8
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def fashion_mnist(data_dir: Path | None, cache: Path) -> tuple[ImageDataset, ImageDataset]:
    """Return training and test data with values in [0, 1].

    Args:
        data_dir: A folder with the four files, searched first.
        cache: Where a download goes when the files are nowhere else.
    """
    folder = _find(data_dir, cache) or _download(data_dir or cache)
    images, labels, test_images, test_labels = (read_idx(folder / name) for name in FILES)
    return _dataset(folder, images, labels), _dataset(folder, test_images, test_labels)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one gzipped idx file of unsigned bytes."""
    try:
        with gzip.open(path) as file:
            content = file.read()
        kind, dimensions = struct.unpack_from(">xxBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path} is unreadable ({error}); fetch the file again") from error
    offset = 4 + 4 * dimensions
    if kind != _UNSIGNED_BYTE or len(content) != offset + math.prod(shape):
        raise DataError(f"{path} is damaged: not an idx file of bytes; fetch the file again")
    return np.frombuffer(content, dtype=np.uint8, offset=offset).reshape(shape)


def _find(data_dir: Path | None, cache: Path) -> Path | None:
    """The first known folder that holds all four files."""
    own = [] if data_dir is None else [data_dir, data_dir / _TORCHVISION_FOLDER]
    for folder in (*own, DEBIAN_FOLDER, cache / _TORCHVISION_FOLDER):
        if all((folder / name).is_file() for name in FILES):
            return folder
    return None


def _download(root: Path) -> Path:
    """Let torchvision fetch the files, or say how to get them by hand."""
    try:
        require_torchvision().datasets.FashionMNIST(str(root), download=True)
    except (ModelError, OSError, RuntimeError) as error:
        raise DataError(
            "Fashion-MNIST is not on this machine and cannot be downloaded; type "
            "`apt-get install dataset-fashion-mnist`, or give `--data-dir DIR` with "
            f"{', '.join(FILES)} in it"
        ) from error
    return root / _TORCHVISION_FOLDER


def _dataset(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> ImageDataset:
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) >= NUM_CLASSES:
        raise DataError(f"the idx files in {folder} do not belong together; fetch them again")
    pixels: Tensor = torch.from_numpy(images.copy()).float().unsqueeze(1) / 255
    return cast(ImageDataset, TensorDataset(pixels, torch.from_numpy(labels.astype(np.int64))))
