"""BatchNorm recalibration: re-estimate running statistics after channels have gone.

Reference: EagleEye (Li et al., ECCV 2020, https://github.com/anonymous47823493/EagleEye), where it
is called adaptive batch normalisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def recalibrate(model: nn.Module, images: Tensor, batch_size: int = 256) -> None:
    """Replace the running statistics of every BatchNorm layer by averages over `images`.

    Args:
        model: any module; one without BatchNorm is left as it is. Ends in eval mode.
        images: search-split images, `(N, C, H, W)`; labels are not needed.
        batch_size: images per forward pass.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    model.eval()
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average over the batches
        norm.train()
    with torch.no_grad():
        for batch in torch.split(images, batch_size):
            if len(batch) > 1:
                model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
