"""Run a network and see what its layers read, batch by batch; nothing of it stays behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rlprune.calling import batch_size, call
from rlprune.criteria.base import Probe
from rlprune.criteria.moments import Moments
from rlprune.criteria.reading import Feature, Reading
from rlprune.errors import CriterionError
from rlprune.surgery.attention import HeadAttention

_BATCH = 256


def streamed(
    probe: Probe, readings: Sequence[Reading], feature: Feature, labels: Tensor, classes: int
) -> list[Moments]:
    """Run the probe through the network once and return the moments of a feature per reading.

    Args:
        probe: the network and its samples.
        readings: where to look.
        feature: what to take of every sample.
        labels: class of every sample; shape `(samples,)`.
        classes: how many there are.

    Raises:
        CriterionError: if a layer is not called, or sees values that are not finite.
    """
    moments: list[Moments] = []
    first = 0
    with watching(probe.model, readings) as seen, torch.no_grad():
        for inputs, _ in probe.batches(_BATCH):
            seen.clear()
            call(probe.model, inputs)
            size = batch_size(inputs)
            for index, reading in enumerate(readings):
                layer = probe.model.get_submodule(reading.module)
                tensors = seen.get((reading.module, reading.reads), [])
                values = _values(tensors, reading, layer, size)
                row = feature(values, reading)
                if index == len(moments):
                    moments.append(Moments.empty(classes, row.shape[1]))
                moments[index].add(row, labels[first : first + size])
            first += size
    return moments


@contextmanager
def watching(
    model: nn.Module, readings: Sequence[Reading]
) -> Iterator[dict[tuple[str, bool], list[Tensor]]]:
    """Collect `{(layer, input or output): one tensor per call}` while the model runs.

    PyTorch's own attention reads the weight of its last layer without calling it; here it runs in
    its equal that does.
    """
    seen: dict[tuple[str, bool], list[Tensor]] = {}

    def keep_input(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            seen.setdefault((name, True), []).append(args[0] if args else kwargs["input"])

        return hook

    def keep_output(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            seen.setdefault((name, False), []).append(output)

        return hook

    fast_path = torch.backends.mha.get_fastpath_enabled()
    attentions = [one for one in model.modules() if _can_be_equal(one)]
    handles = []
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for one in attentions:
            one.__class__ = HeadAttention
        for name, reads in {(one.module, one.reads) for one in readings}:
            layer = model.get_submodule(name)
            if reads:
                hook = layer.register_forward_pre_hook(keep_input(name), with_kwargs=True)
            else:
                hook = layer.register_forward_hook(keep_output(name))
            handles.append(hook)
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        for one in attentions:
            one.__class__ = nn.MultiheadAttention
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _can_be_equal(module: nn.Module) -> bool:
    plain = type(module) is nn.MultiheadAttention
    return plain and module.bias_k is None and not module.add_zero_attn


def _values(tensors: Sequence[Tensor], reading: Reading, layer: nn.Module, size: int) -> Tensor:
    """Return what was seen of a reading's channels; shape `(batch, positions, points)`."""
    if not tensors:
        raise CriterionError(
            f"the forward reads the weight of {reading.module!r} without calling the layer, so its "
            "activations cannot be seen; take a criterion of weights, such as l2"
        )
    dim = -1 - len(layer.kernel_size) if isinstance(layer, _ConvNd) else -1
    index = reading.positions.to(tensors[0].device)
    calls = [_by_sample(one.index_select(dim, index), dim, size) for one in tensors]
    values = torch.cat(calls, 2).double()
    if not values.isfinite().all():
        raise CriterionError(
            f"activations at layer {reading.module!r} are not finite; neither are the network's "
            "weights or inputs, or they overflow"
        )
    return values


def _by_sample(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Bring a tensor into shape `(batch, channels, points)`.

    Tokens may come before samples, windows of a sample may be rows of their own, and what is made
    without the input, such as positions, is the same for every sample.
    """
    tensor = tensor.movedim(dim, -1)
    leading = tensor.shape[:-1]
    if size in leading:
        tensor = tensor.movedim(leading.index(size), 0)
    elif not leading or leading[0] % size:
        tensor = tensor.expand(size, *tensor.shape)
    return tensor.reshape(size, -1, tensor.shape[-1]).transpose(1, 2)
