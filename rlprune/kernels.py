"""Kernels of the libraries below that compute what they should not, and a way around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeGuard

from torch import Tensor, nn

_BLOCK = 16
"""Input channels of a group from which on oneDNN's kernels fill their blocks, on any processor."""


@contextmanager
def sound_gradients(model: nn.Module) -> Iterator[None]:
    """Let the gradients of all that a model computes in here be what they should be.

    For a strided 1x1 convolution of few input channels, such as the shortcut of a residual network
    that lost most of its width, and weights or images in channels-last order, oneDNN's kernel for
    AVX2 writes beyond its workspace: the gradient of the weights is wrong, or the process hangs or
    crashes. In here such layers leave the images out that they would step over, and take steps
    of one: the same function, by another kernel.
    Reported as https://github.com/uxlfoundation/oneDNN/issues/6035; in PyTorch 2.13.

    Args:
        model: its forward passes must be in here; backward passes need not be.
    """
    layers = [(layer, layer.stride) for layer in model.modules() if _may_overrun(layer)]
    handles = []
    try:
        for layer, steps in layers:
            thin = _Thinned(*steps)
            handles.append(layer.register_forward_pre_hook(thin, with_kwargs=True))
            layer.stride = (1, 1)
        yield
    finally:
        for handle in handles:
            handle.remove()
        for layer, steps in layers:
            layer.stride = steps


class _Thinned:
    """Every so many rows and columns of a layer's images."""

    def __init__(self, rows: int, columns: int) -> None:
        self._places = (..., slice(None, None, rows), slice(None, None, columns))

    def __call__(
        self, _: nn.Module, args: tuple[Tensor, ...], named: Mapping[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        thinned = {name: images[self._places] for name, images in named.items()}
        return tuple(images[self._places] for images in args), thinned


def _may_overrun(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.padding in ((0, 0), "valid")
        and layer.in_channels // layer.groups < _BLOCK
    )
