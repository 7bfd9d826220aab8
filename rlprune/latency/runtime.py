"""What runs a network while it is timed: PyTorch as it is, torch.compile or ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import nn

from rlprune.calling import Inputs, batch_size, call, shapes, take, tensors_in
from rlprune.errors import FOREIGN_ERRORS, ExportError, LatencyError, UnknownNameError, first_line
from rlprune.export.exporter import export_model
from rlprune.export.formats import Onnx
from rlprune.export.quiet import quiet
from rlprune.latency.timing import Call

_EXPORTED_SAMPLES = 2
_UNLIMITED = 2**20


def prepare(model: nn.Module, batch: Inputs, runtime: str) -> Call:
    """Return a call that runs one forward pass, compiled or exported already.

    Args:
        model: in eval mode, on the batch's device.
        batch: inputs of the forward pass, at least one sample.
        runtime: one of `RUNTIMES`.

    Raises:
        UnknownNameError: for another runtime.
        LatencyError: if the batch is empty, or torch.compile cannot compile the network.
        ExportError: if ONNX Runtime is not installed or cannot run the network.
    """
    if runtime not in RUNTIMES:
        raise UnknownNameError("runtime", runtime, RUNTIMES)
    if not tensors_in(batch) or batch_size(batch) < 1:
        raise LatencyError(
            f"a batch of shape {shapes(batch)} has no sample to time; give a batch size of 1 or "
            "more"
        )
    return RUNTIMES[runtime](model, batch)


def _eager(model: nn.Module, batch: Inputs) -> Call:
    def run() -> object:
        with torch.inference_mode():
            return call(model, batch)

    return run


def _compiled(model: nn.Module, batch: Inputs) -> Call:
    # All plans of a network share its code, for which PyTorch would stop compiling after a few.
    limits = torch._dynamo.config.patch(
        recompile_limit=_UNLIMITED,
        accumulated_recompile_limit=_UNLIMITED,
        fail_on_recompile_limit_hit=True,
    )
    try:
        with quiet(), limits:
            compiled = cast(nn.Module, torch.compile(model, dynamic=False))
            run = _eager(compiled, batch)
            run()
    except FOREIGN_ERRORS as error:
        raise LatencyError(
            f"torch.compile cannot compile {type(model).__name__} ({first_line(error)}); type "
            "--runtime eager"
        ) from error
    return run


def _onnxruntime(model: nn.Module, batch: Inputs) -> Call:
    devices = {tensor.device.type for tensor in tensors_in(batch)}
    if devices != {"cpu"}:
        raise ExportError(
            f"the runtime onnxruntime is timed on the CPU, not on {', '.join(sorted(devices))}; "
            "type --device cpu, or --runtime eager"
        )
    with TemporaryDirectory() as folder:
        example = take(batch, slice(0, _EXPORTED_SAMPLES))
        check = export_model(model, example, Path(folder) / "any", "onnx")
        if not check.dynamic_batch and batch_size(batch) != batch_size(example):
            check = export_model(model, batch, Path(folder) / "fixed", "onnx")
        session = Onnx().load(check.file)
    return lambda: session(batch)


RUNTIMES: Mapping[str, Callable[[nn.Module, Inputs], Call]] = {
    "eager": _eager,
    "compile": _compiled,
    "onnxruntime": _onnxruntime,
}
