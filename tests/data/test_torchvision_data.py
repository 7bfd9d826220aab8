from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from rlprune.data import load_data, torchvision_data
from rlprune.errors import DataError


def write_images(folder: Path, count: int, classes: tuple[str, ...] = ("cat", "dog")) -> None:
    generator = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(256, size=(20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.mark.parametrize("test_folder", ["test", "val"])
def test_a_folder_of_images_becomes_standardised_square_splits(
    tmp_path: Path, test_folder: str
) -> None:
    write_images(tmp_path / "train", 20)
    write_images(tmp_path / test_folder, 3)
    data = load_data(f"imagefolder:{tmp_path}", image_size=16)
    assert (data.num_classes, data.input_shape) == (2, (3, 16, 16))
    assert [len(s) for s in (data.train, data.search, data.validation, data.test)] == [28, 6, 6, 6]
    images, _ = data.train.tensors()
    assert torch.allclose(images.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)


def test_a_folder_of_images_is_64_pixels_wide_unless_told_otherwise(tmp_path: Path) -> None:
    write_images(tmp_path / "train", 10)
    write_images(tmp_path / "test", 1)
    assert load_data(f"imagefolder:{tmp_path}").input_shape == (3, 64, 64)


def test_different_classes_in_train_and_test_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "train", 2)
    write_images(tmp_path / "test", 1, ("cat",))
    with pytest.raises(DataError, match="have different classes"):
        load_data(f"imagefolder:{tmp_path}")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="is not a folder of image classes"):
        load_data(f"imagefolder:{tmp_path}")


def fake_cifar(root: str, train: bool, download: bool) -> SimpleNamespace:
    assert download
    count = 40 if train else 10
    return SimpleNamespace(
        data=np.zeros((count, 32, 32, 3), dtype=np.uint8), targets=[i % 10 for i in range(count)]
    )


def unreachable(root: str, train: bool, download: bool) -> SimpleNamespace:
    raise RuntimeError("no network")


def use(monkeypatch: pytest.MonkeyPatch, dataset: object) -> None:
    datasets = SimpleNamespace(CIFAR10=dataset, CIFAR100=dataset)
    monkeypatch.setattr(
        torchvision_data, "require_torchvision", lambda: SimpleNamespace(datasets=datasets)
    )


def test_cifar_is_read_into_memory_channels_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, fake_cifar)
    data = load_data("cifar10", data_dir=tmp_path, image_size=16)
    assert (data.tag, data.input_shape, data.num_classes) == ("cifar10-16", (3, 16, 16), 10)
    assert load_data("cifar100", data_dir=tmp_path).num_classes == 100


def test_cifar_without_a_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, unreachable)
    with pytest.raises(DataError, match=r"\(no network\); fetch it where there is a network"):
        load_data("cifar10", data_dir=tmp_path)
