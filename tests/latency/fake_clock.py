"""A clock that only operations move, so that no test depends on how fast the machine is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode

from rlprune.calling import tensors_in
from rlprune.config import LatencySettings

SETTINGS = LatencySettings(batch_size=2, rounds=3, round_ms=0.001)


class FakeClock:
    """Returns the seconds that were charged so far."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def charge(self, seconds: float) -> None:
        self.seconds += seconds


class ChargedLayers:
    """Moves a clock whenever a convolution or linear layer runs, by a cost of its channels."""

    def __init__(self, cost: Callable[[nn.Module, int, int], float]) -> None:
        self.clock = FakeClock()
        self.calls = 0
        self._cost = cost

    def __enter__(self) -> FakeClock:
        self._handle = register_module_forward_hook(self._after)
        return self.clock

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            self.calls += 1
            outs, ins = module.weight.shape[:2]
            self.clock.charge(self._cost(module, ins, outs))


class ChargedOperations(TorchDispatchMode):
    """Moves a clock at every operation: by its products, and by the elements that it writes.

    PyTorch's fused attention, of which only dense networks are capable, would be one operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()

    def __enter__(self) -> Self:
        self._fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.backends.mha.set_fastpath_enabled(self._fused)
        super().__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        tensors = [tensor for tensor in tensors_in(args) if tensor.ndim > 1]
        written = sum(tensor.numel() for tensor in tensors_in(result))
        self.clock.charge(1e-5 + 1e-7 * written + 1e-8 * _products(name, tensors, written))
        return result


def _products(name: str, tensors: list[Tensor], written: int) -> int:
    if "convolution" in name:
        return written * tensors[1][0].numel()
    if name in ("linear", "addmm", "mm", "bmm", "matmul"):
        return written * tensors[-2].shape[-1]
    return 0


def random_images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))
