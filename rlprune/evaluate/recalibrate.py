"""BatchNorm recalibration: re-estimate running statistics after channels have gone.

Reference: EagleEye (Li et al., ECCV 2020, https://github.com/anonymous47823493/EagleEye), where it
is called adaptive batch normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rlprune.calling import Inputs, call
from rlprune.evaluate.batches import batches_of


def recalibrate(model: nn.Module, inputs: Inputs, batch_size: int | None = None) -> None:
    """Replace the running statistics of every BatchNorm layer by averages over `inputs`.

    Args:
        model: any module; one without BatchNorm is left as it is. Ends in eval mode.
        inputs: those of the search split; targets are not needed.
        batch_size: samples per forward pass, at most; by default what suits one.
    """
    with collecting_statistics(model) as has_statistics, torch.no_grad():
        for batch in batches_of(inputs, batch_size) if has_statistics else ():
            call(model, batch)


@contextmanager
def collecting_statistics(model: nn.Module) -> Iterator[bool]:
    """Let BatchNorm normalise by each batch and average what it sees; all else is in eval mode.

    Yields:
        Whether there is any BatchNorm with running statistics. The model ends in eval mode.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average over the batches
        norm.train()
    try:
        yield bool(norms)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
