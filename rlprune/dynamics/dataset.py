"""Characteristics of the data that a network was trained on, seen through held-out samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlprune.calling import tensors_in
from rlprune.criteria.base import Probe
from rlprune.dynamics.record import DataTraits
from rlprune.evaluate.tasks import Classification


def traits_of(on: Probe, outputs: Tensor, train_samples: int) -> DataTraits:
    """Return the indicators of the data.

    Args:
        on: held-out samples.
        outputs: of the network on the first of them, in inference mode.
        train_samples: how many it learned from.
    """
    inputs, targets = next(on.batches(len(outputs)))
    classes = on.num_classes if on.labelled else 1
    quality = on.task.quality(outputs, inputs, targets)
    classified = on.task.name == Classification.name
    return DataTraits(
        log_classes=math.log(classes),
        log_samples_per_class=math.log(max(1.0, train_samples / classes)),
        log_input_size=math.log(sum(tensor[0].numel() for tensor in tensors_in(inputs))),
        label_entropy=_label_entropy(on.targets, classes) if classes > 1 else 0.0,
        dense_error=1 - quality if classified else 10 ** (-quality / 10),
        mean_margin=_mean_margin(outputs, targets) if classified else None,
    )


def _label_entropy(labels: Tensor, classes: int) -> float:
    shares = torch.bincount(labels.cpu(), minlength=classes).double() / len(labels)
    return float(torch.special.entr(shares).sum()) / math.log(classes)


def _mean_margin(logits: Tensor, labels: Tensor) -> float:
    probabilities = logits.double().softmax(1)
    right = probabilities.gather(1, labels[:, None])
    others = probabilities.scatter(1, labels[:, None], -1.0).amax(1, keepdim=True)
    return float((right - others).mean())
