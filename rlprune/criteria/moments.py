"""Means and variances per class of what comes in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass
class Moments:
    """Counts, means and sums of squared deviations, in float64 and in one pass.

    Batches are merged as in Chan, Golub and LeVeque (1983), which is Welford's update for more
    than one row at a time, so that large means do not swallow small variances.

    Attributes:
        counts: rows of each class; shape `(classes,)`.
        means: shape `(classes, features)`.
        squares: squared deviations from the class mean; shape `(classes, features)`.
    """

    counts: Tensor
    means: Tensor
    squares: Tensor

    @classmethod
    def empty(cls, classes: int, features: int) -> Self:
        """Return the moments of no rows."""
        shape = classes, features
        counts = torch.zeros(classes, dtype=torch.float64)
        return cls(counts, torch.zeros(shape).double(), torch.zeros(shape).double())

    def add(self, rows: Tensor, labels: Tensor) -> None:
        """Take in a batch.

        Args:
            rows: shape `(batch, features)`.
            labels: class of each row; shape `(batch,)`.
        """
        rows, labels = rows.to("cpu", torch.float64), labels.cpu()
        counts = torch.bincount(labels, minlength=len(self.counts)).double()
        sums = torch.zeros_like(self.means).index_add_(0, labels, rows)
        means = sums / counts.clamp_min(1)[:, None]
        deviations = (rows - means[labels]) ** 2
        squares = torch.zeros_like(self.squares).index_add_(0, labels, deviations)
        total = self.counts + counts
        share = (counts / total.clamp_min(1))[:, None]
        shift = means - self.means
        self.means = self.means + shift * share
        self.squares = self.squares + squares + shift**2 * share * self.counts[:, None]
        self.counts = total

    @property
    def mean(self) -> Tensor:
        """Mean over all rows; shape `(features,)`."""
        return (self.counts[:, None] * self.means).sum(0) / self.counts.sum().clamp_min(1)

    @property
    def within(self) -> Tensor:
        """Squared deviations from the means of the classes; shape `(features,)`."""
        return self.squares.sum(0)

    @property
    def between(self) -> Tensor:
        """What each class adds by its mean; shape `(classes, features)`."""
        return self.counts[:, None] * (self.means - self.mean) ** 2

    @property
    def variance(self) -> Tensor:
        """Variance over all rows, dividing by their number; shape `(features,)`."""
        return (self.within + self.between.sum(0)) / self.counts.sum().clamp_min(1)
