"""Gradients of watched weights, summed up over mini-batches."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from rlprune.dynamics.record import Gradients

_LEAST = 1e-12  # keeps logarithms and ratios finite
_LARGEST_SNR = 100.0


class _Sum:
    """Gradients of one weight; `squares`, `ratio` and `taylor` are means once divided by `count`.

    One vector is kept, the sum of the gradients.
    """

    def __init__(self, like: Tensor) -> None:
        self.count = 0
        self.total = torch.zeros_like(like)
        self.squares = self.ratio = self.taylor = 0.0

    def add(self, gradient: Tensor, numbers: tuple[float, float, float]) -> None:
        size, weight_size, taylor = numbers
        self.count += 1
        self.total += gradient
        self.squares += size**2
        self.ratio += size / weight_size if weight_size else 0.0
        self.taylor += taylor

    @property
    def squared_mean(self) -> float:
        """Squared norm of the mean gradient."""
        return float((self.total.double() / self.count).square().sum())

    @property
    def variance(self) -> float:
        """Variance over mini-batches, summed over elements; 0 with a single one."""
        if self.count < 2:
            return 0.0
        spread = self.squares / self.count - self.squared_mean
        return max(0.0, spread) * self.count / (self.count - 1)


class GradientSums:
    """Sums over mini-batches, from which means, variances and shares follow."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sum] = {}

    @torch.no_grad()
    def add(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]) -> None:
        """Take in the gradients of one mini-batch.

        Args:
            weights: `{name: weight}`.
            gradients: the same names; None where there is no gradient.
        """
        given = {
            name: one.detach().to_dense().to(weights[name].dtype)
            for name, one in gradients.items()
            if one is not None
        }
        if not given:
            return
        numbers = [_numbers(weights[name], one) for name, one in given.items()]
        # One transfer for all: each would wait for the device.
        rows = torch.stack(numbers).to("cpu", torch.float64).tolist()
        for (name, one), (size, weight_size, taylor) in zip(given.items(), rows, strict=True):
            if name not in self._sums:
                self._sums[name] = _Sum(one)
            self._sums[name].add(one, (size, weight_size, taylor))

    def summary(self, weight: str) -> Gradients | None:
        """Return the indicators of one weight, or None with fewer than two mini-batches."""
        one = self._sums.get(weight)
        if one is None or one.count < 2:
            return None
        rms = math.sqrt(one.squares / one.count / one.total.numel())
        all_taylor = sum(each.taylor / each.count for each in self._sums.values())
        deviation = math.sqrt(one.variance)
        return Gradients(
            log_rms=math.log(max(rms, _LEAST)),
            weight_ratio=one.ratio / one.count,
            snr=min(_LARGEST_SNR, math.sqrt(one.squared_mean) / max(deviation, _LEAST)),
            taylor_share=one.taylor / one.count / all_taylor if all_taylor else 0.0,
        )

    def fisher(self, weight: str, batch: int) -> float:
        """Estimate the mean squared gradient of single samples, per element.

        A mean over `batch` independent samples has a `batch`-th of their variance. Exact where
        mini-batches are single samples.

        Args:
            weight: its name.
            batch: samples in every mini-batch.
        """
        one = self._sums[weight]
        # The squared norm of an estimated mean is too large by the mean's own variance.
        squared_mean = one.squared_mean - one.variance / one.count
        return max(0.0, squared_mean + batch * one.variance) / one.total.numel()


def _numbers(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return the norm of the gradient, that of the weight, and the sum of |weight x gradient|."""
    return torch.stack([gradient.norm(), weight.norm(), (weight * gradient).norm(1)])
