"""The check that every model passes before anything is done with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlprune.errors import ModelError


def check_finite(model: nn.Module, name: str) -> None:
    """Raise `ModelError` naming the first tensor of a model that holds NaN or infinity."""
    for tensor_name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"{name}: weights contain NaN or infinity in {tensor_name!r}; "
                "give a healthy checkpoint"
            )
