from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlprune.data.fashion_mnist import DEBIAN_FOLDER
from rlprune.data.splits import DataSplits
from rlprune.errors import DataError, UnknownNameError
from rlprune.pool.data import first_of, pool_data

USER_FILE = """
import torch
from torch.utils.data import TensorDataset

def made(images, targets):
    return TensorDataset(images, targets), TensorDataset(images[:9], targets[:9])

def good():
    return made(torch.randn(40, 2, 6, 6), torch.arange(40) % 3)

def oblong():
    return made(torch.randn(40, 1, 6, 8), torch.arange(40) % 3)

def rows():
    return made(torch.randn(40, 8), torch.arange(40) % 3)

def rebuilt():
    return made(torch.randn(40, 1, 6, 6), torch.randn(40, 1, 6, 6))
"""


@pytest.fixture
def user_file(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(USER_FILE)
    return str(path)


def test_a_name_may_end_in_the_size_of_the_images(digits: DataSplits) -> None:
    assert pool_data("digits").input_shape == digits.input_shape == (1, 8, 8)
    assert pool_data("digits-10").input_shape == (1, 10, 10)
    with pytest.raises(UnknownNameError, match="unknown data 'digitz-10'"):
        pool_data("digitz-10")


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_names_with_dashes_may_end_in_a_size_too() -> None:
    assert pool_data("fashion-mnist-14").tag == "fashion-mnist-14"


def test_the_data_of_a_user_can_make_a_pool(user_file: str) -> None:
    data = pool_data(f"{user_file}:good")
    assert (data.input_shape, data.num_classes) == ((2, 6, 6), 3)


@pytest.mark.parametrize("factory", ["oblong", "rows", "rebuilt"])
def test_other_inputs_than_square_images_with_classes_are_refused(
    user_file: str, factory: str
) -> None:
    with pytest.raises(DataError, match="take square images of two classes or more"):
        pool_data(f"{user_file}:{factory}")


def test_a_part_holds_the_first_images_and_no_other_split_changes(digits: DataSplits) -> None:
    few = first_of(digits, 100, 20)
    assert (len(few.train), len(few.validation)) == (100, 20)
    inputs, _ = few.train.tensors()
    expected, _ = digits.train.tensors(100)
    assert isinstance(inputs, torch.Tensor)
    assert isinstance(expected, torch.Tensor)
    assert torch.equal(inputs, expected)
    assert few.test is digits.test
    assert few.search is digits.search
    assert len(first_of(digits, 10**6, 10**6).train) == len(digits.train)
