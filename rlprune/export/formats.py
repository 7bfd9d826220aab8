"""The file formats: how a traced network is written, and how the file is run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from rlprune.calling import Inputs, call, tensors_in
from rlprune.errors import ExportError
from rlprune.export.tracing import Traced

Runner = Callable[[Inputs], list[Tensor]]
"""Runs a file on a batch; returns the output tensors in the order of the torch model's."""


class Format(Protocol):
    """A file format; making one raises `ExportError` where its packages are not installed.

    Attributes:
        file: name of the file.
        errors: what running a file may raise beside `FOREIGN_ERRORS`.
    """

    file: str
    errors: tuple[type[Exception], ...]

    def write(self, traced: Traced, path: Path) -> None:
        """Write a traced network."""

    def load(self, path: Path) -> Runner:
        """Load a file as a user of it would."""


class Onnx:
    """ONNX, run by onnxruntime on the CPU."""

    file = "model.onnx"

    def __init__(self) -> None:
        for name in ("onnx", "onnxscript"):
            _require(name)
        self._runtime = _require("onnxruntime")
        state = _require("onnxruntime.capi.onnxruntime_pybind11_state")
        self.errors: tuple[type[Exception], ...] = (
            state.Fail,
            state.InvalidArgument,
            state.InvalidGraph,
            state.NotImplemented,
            state.RuntimeException,
        )

    def write(self, traced: Traced, path: Path) -> None:
        """Write one file; models of more than 2 GB keep their weights in a second one."""
        named = [{0: "batch"} for _ in traced.program.graph_signature.user_inputs]
        torch.onnx.export(
            traced.program,
            f=path,
            dynamo=True,
            external_data=False,
            dynamic_shapes=named if traced.batch_fixed_by is None else None,
            output_names=traced.output_names,
            verbose=False,
        )

    def load(self, path: Path) -> Runner:
        """Start a session; inputs are fed in the order in which torch takes them."""
        options = self._runtime.SessionOptions()
        options.log_severity_level = 3  # errors only
        # Left to itself, onnxruntime pins threads to cores, and complains where it may not.
        options.intra_op_num_threads = torch.get_num_threads()
        session = self._runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [item.name for item in session.get_inputs()]

        def run(inputs: Inputs) -> list[Tensor]:
            arrays = [tensor.detach().numpy() for tensor in tensors_in(inputs)]
            outputs = session.run(None, dict(zip(names, arrays, strict=True)))
            return [torch.as_tensor(output) for output in outputs]

        return run


class TorchExport:
    """An exported program of torch, run by torch."""

    file = "model.pt2"
    errors: tuple[type[Exception], ...] = ()

    def write(self, traced: Traced, path: Path) -> None:
        """Write one file; outputs come back in the network's own structure."""
        torch.export.save(traced.program, path)

    def load(self, path: Path) -> Runner:
        """Load the program."""
        module = torch.export.load(path).module()
        return lambda inputs: tensors_in(call(module, inputs))


FORMATS: Mapping[str, Callable[[], Format]] = {"onnx": Onnx, "torch-export": TorchExport}


def _require(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(
            f'the format onnx needs {name.partition(".")[0]}; type: pip install "rlprune[export]"'
        ) from error
