"""Losses and their derivatives at tensors that stand in for the network's own.

The network is in eval mode, so BatchNorm uses its running statistics, and nothing in it changes:
not its weights, not their `.grad`, not its buffers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from rlprune.calling import Inputs, main_output
from rlprune.errors import CriterionError, first_line
from rlprune.kernels import sound_gradients

if TYPE_CHECKING:
    from rlprune.criteria.base import Probe


def loss_at(probe: Probe, tensors: Mapping[str, Tensor], inputs: Inputs, targets: Tensor) -> Tensor:
    """Return the task's loss on a batch, with some parameters and buffers replaced by name."""
    with sound_gradients(probe.model):
        if isinstance(inputs, dict):
            outputs = functional_call(probe.model, dict(tensors), (), inputs)
        else:
            outputs = functional_call(probe.model, dict(tensors), inputs)
    return probe.task.loss(main_output(outputs), inputs, targets)


def leaves(probe: Probe) -> dict[str, Tensor]:
    """Return the parameters as tensors to differentiate by; they share the network's memory."""
    return {name: one.detach().requires_grad_() for name, one in probe.model.named_parameters()}


def gradients(
    loss: Tensor, tensors: Sequence[Tensor], *, differentiable: bool = False
) -> tuple[Tensor, ...]:
    """Return the gradient by each tensor, zeros where the loss does not depend on it."""
    return torch.autograd.grad(
        loss, tensors, create_graph=differentiable, allow_unused=True, materialize_grads=True
    )


def signs(tensors: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draw Rademacher vectors, 1 or -1 in each place, on the CPU and then moved."""
    drawn = (torch.randint(2, one.shape, generator=generator) for one in tensors)
    return tuple((2 * bits - 1).to(one) for bits, one in zip(drawn, tensors, strict=True))


def diagonal_draw(
    slopes: Sequence[Tensor], tensors: Sequence[Tensor], vectors: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Return `v * (H v)`, whose mean over Rademacher vectors v is the Hessian's diagonal.

    Hutchinson's estimator (Bekas, Kokiopoulou and Saad, 2007).

    Args:
        slopes: gradients by `tensors` that can be differentiated again; their graph is kept.
        tensors: what is differentiated by.
        vectors: one draw of `signs`.

    Raises:
        CriterionError: if an operation of the network has no second derivative in PyTorch.
    """
    along = torch.stack([(s * v).sum() for s, v in zip(slopes, vectors, strict=True)]).sum()
    try:
        products = torch.autograd.grad(
            along, tensors, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise CriterionError(
            f"the network cannot be differentiated twice ({first_line(error)}); take a criterion "
            "of first derivatives, such as taylor or fisher"
        ) from error
    return tuple(v * p for v, p in zip(vectors, products, strict=True))


def twice_differentiable() -> AbstractContextManager[None]:
    """Let attention be computed without the fused kernels, which have no second derivatives."""
    return sdpa_kernel(SDPBackend.MATH)
