from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlprune.data import load_data
from rlprune.errors import DataError, UnknownNameError


def test_digits_have_the_documented_sizes() -> None:
    data = load_data("digits")
    sizes = [len(split) for split in (data.train, data.search, data.validation, data.test)]
    assert sizes == [1007, 215, 215, 360]
    assert (data.tag, data.num_classes, data.input_shape) == ("digits-8", 10, (1, 8, 8))


def test_images_are_standardised_with_the_train_remainder() -> None:
    images, targets = load_data("digits").train.tensors()
    assert images.dtype is torch.float32
    assert targets.dtype is torch.int64
    assert abs(float(images.mean())) < 1e-5
    assert abs(float(images.std()) - 1) < 1e-5


def test_no_digit_is_in_two_splits() -> None:
    data = load_data("digits")
    splits = (data.train, data.search, data.validation, data.test)
    images = torch.cat([split.tensors()[0] for split in splits]).flatten(1)
    assert len(images) == 1797
    assert len(torch.unique(images, dim=0)) == 1797  # scikit-learn's digits hold no duplicates


def test_the_same_name_gives_the_same_data() -> None:
    first, second = load_data("digits"), load_data("digits")
    assert torch.equal(first.train.tensors()[0], second.train.tensors()[0])
    assert torch.equal(first.test.tensors()[1], second.test.tensors()[1])


def test_images_can_be_resized() -> None:
    data = load_data("digits", image_size=12)
    assert data.input_shape == (1, 12, 12)
    assert data.tag == "digits-12"
    assert data.test.tensors(3)[0].shape == (3, 1, 12, 12)


def test_a_tiny_image_size_is_refused() -> None:
    with pytest.raises(DataError, match="image size 1 is too small; type 4 or more"):
        load_data("digits", image_size=1)


def test_an_unknown_name_is_answered_with_the_closest_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown data 'digit'; did you mean 'digits'"):
        load_data("digit")


def test_a_mistyped_folder_name_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no train and test \(or val\) folders"):
        load_data(f"imagefolder:{tmp_path}")
