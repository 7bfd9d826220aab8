from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rlprune.data import fashion_mnist as module
from rlprune.data import load_data
from rlprune.errors import DataError, ModelError

needs_files = pytest.mark.skipif(
    not module.DEBIAN_FOLDER.is_dir(),
    reason="Fashion-MNIST is not installed: apt-get install dataset-fashion-mnist",
)


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = struct.pack(f">xxBB{values.ndim}I", 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


def write_task(folder: Path, classes: int = 10) -> None:
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 100), ("t10k", 20)):
        pixels = generator.integers(256, size=(count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % classes).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", pixels)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)


def test_the_four_files_are_read_from_the_data_folder(tmp_path: Path) -> None:
    write_task(tmp_path)
    data = load_data("fashion-mnist", data_dir=tmp_path, image_size=14)
    assert (data.tag, data.num_classes) == ("fashion-mnist-14", 10)
    assert data.input_shape == (1, 14, 14)
    sizes = [len(split) for split in (data.train, data.search, data.validation, data.test)]
    assert sizes == [70, 15, 15, 20]


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path)
    path = tmp_path / module.FILES[0]
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"is unreadable .*; fetch the file again"):
        load_data("fashion-mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\x00\x00\x0d\x01\x00\x00\x00\x00", b"hello" * 9]
)
def test_a_file_that_is_not_idx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match="fetch the file again"):
        module.read_idx(path)


def test_labels_that_do_not_fit_the_task_are_refused(tmp_path: Path) -> None:
    write_task(tmp_path, classes=12)
    with pytest.raises(DataError, match="do not belong together"):
        load_data("fashion-mnist", data_dir=tmp_path)


def test_missing_files_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_torchvision() -> None:
        raise ModelError("not installed")

    monkeypatch.setattr(module, "DEBIAN_FOLDER", tmp_path / "none")
    monkeypatch.setattr(module, "require_torchvision", no_torchvision)
    with pytest.raises(DataError, match=r"apt-get install dataset-fashion-mnist.*--data-dir DIR"):
        module.fashion_mnist(None, tmp_path)


@needs_files
def test_the_installed_files_hold_the_documented_task() -> None:
    data = load_data("fashion-mnist", image_size=14)
    sizes = [len(split) for split in (data.train, data.search, data.validation, data.test)]
    assert sizes == [52_952, 2048, 5000, 10_000]
    counts = torch.bincount(data.test.tensors()[1])
    assert counts.tolist() == [1000] * 10
