"""Measured peak of the memory that activations take during one forward pass."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rlprune.calling import Inputs, call, tensors_in


def peak_activation_bytes(model: nn.Module, batch: Inputs) -> int:
    """Return the most bytes of activations that are alive at one moment of a forward pass.

    Parameters, buffers and the input do not count. On CUDA it is what PyTorch's allocator measures,
    scratch memory of kernels and rounding included; elsewhere every storage that an operation
    returns is followed until it is freed, and scratch memory inside an operation is not seen.

    Args:
        model: in eval mode, on the batch's device.
        batch: inputs of the forward pass.
    """
    device = tensors_in(batch)[0].device
    if device.type == "cuda":
        return _allocated(model, batch, device)
    followed = _Storages([*model.parameters(), *model.buffers(), *tensors_in(batch)])
    with torch.inference_mode(), followed:
        call(model, batch)
    return followed.peak


def _allocated(model: nn.Module, batch: Inputs, device: torch.device) -> int:
    with torch.inference_mode():
        call(model, batch)  # libraries allocate what they keep on their first call
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call(model, batch)
        torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


class _Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations return, from their first use to their end.

    Args:
        excluded: tensors whose storages do not count.
    """

    def __init__(self, excluded: list[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live = 0
        self._excluded = [tensor.untyped_storage() for tensor in excluded]  # so that ids stay
        self._known = {storage._cdata for storage in self._excluded}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, then follow what it returned."""
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self._live += storage.nbytes()
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())

    def _freed(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self._live -= size
