"""Handwritten digits, 1 x 8 x 8, from scikit-learn: no download."""

from __future__ import annotations

from typing import cast

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

from rlprune.data.splits import ImageDataset

NUM_CLASSES = 10
_TEST_FRACTION = 0.2
_MAXIMUM = 16.0


def digits() -> tuple[ImageDataset, ImageDataset]:
    """Return training and test data with values in [0, 1]."""
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / _MAXIMUM
    targets = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(
        range(len(targets)), test_size=_TEST_FRACTION, stratify=bunch.target, random_state=0
    )
    return (
        cast(ImageDataset, TensorDataset(images[train], targets[train])),
        cast(ImageDataset, TensorDataset(images[test], targets[test])),
    )
