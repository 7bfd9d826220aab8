"""Trace a network with torch.export: for any batch size, or for one where it allows no other."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.fx import GraphModule
from torch.utils._pytree import keystr, tree_flatten_with_path

from rlprune.calling import Inputs, batch_size, call, repeated, shapes, tensors_in
from rlprune.errors import FOREIGN_ERRORS, ExportError, first_line
from rlprune.export.quiet import quiet

_FEWEST_TRACED = 2  # torch takes a dimension of 1 for one that is always 1


@dataclass(frozen=True)
class Traced:
    """A traced network, and what the network itself computes.

    Attributes:
        program: what torch.export made of it.
        output_names: of the output tensors in order: `output`, `output.KEY`, `output.0.KEY`...
        expected: inputs and output tensors per batch size, to compare files with.
        batch_fixed_by: why the program takes one batch size only; None when it takes any.
    """

    program: ExportedProgram
    output_names: tuple[str, ...]
    expected: dict[int, tuple[Inputs, list[Tensor]]]
    batch_fixed_by: str | None


def trace_program(network: nn.Module, inputs: Inputs) -> Traced:
    """Trace a network in evaluation mode.

    Args:
        network: on the CPU.
        inputs: an example batch, on the CPU.

    Raises:
        ExportError: if the network does not take the example or cannot be traced.
    """
    name, size = type(network).__name__, batch_size(inputs)
    with explained(f"{name} does not take inputs of shape {shapes(inputs)}"):
        outputs = call(network, inputs)
    if not tensors_in(outputs):
        raise ExportError(
            f"{name} returns {type(outputs).__name__} with no tensor in it; return a tensor, or "
            "a tuple or dict of tensors"
        )
    names, expected = _output_names(outputs), {size: (inputs, tensors_in(outputs))}
    try:
        larger = repeated(inputs, size + 1)
        others = {size + 1: (larger, tensors_in(call(network, larger)))}
        program = _exported(network, repeated(inputs, max(size, _FEWEST_TRACED)), dynamic=True)
    except FOREIGN_ERRORS as error:
        what = (
            f"{name} must be tensor operations, without branches on values or NumPy, to be exported"
        )
        with explained(what):
            program = _exported(network, inputs, dynamic=False)
        return Traced(program, names, expected, batch_fixed_by=reason(error))
    return Traced(program, names, expected | others, batch_fixed_by=None)


class _Inside(nn.Module):
    """A network one level down, called in the same way."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

        @functools.wraps(network.forward)
        def forward(*arguments: Any, **keywords: Any) -> Any:
            return network(*arguments, **keywords)

        self.forward = forward


def _without_clashes(network: nn.Module) -> nn.Module:
    """Hide layers called `code` or `graph`: exported programs have attributes of these names."""
    tensors = (*network.named_parameters(), *network.named_buffers())
    names = {name.partition(".")[0] for name, _ in tensors}
    return _Inside(network) if any(hasattr(GraphModule, name) for name in names) else network


def _exported(network: nn.Module, inputs: Inputs, *, dynamic: bool) -> ExportedProgram:
    arguments = inputs if isinstance(inputs, tuple) else ()
    keywords = inputs if isinstance(inputs, dict) else {}
    if isinstance(inputs, Tensor):
        arguments = (inputs,)
    marked: Any = ShapesCollection()  # type: ignore[no-untyped-call]
    for tensor in tensors_in(inputs) if dynamic else ():
        marked[tensor] = {0: Dim("batch")}
    with quiet():
        program = torch.export.export(
            _without_clashes(network), arguments, keywords, dynamic_shapes=marked, strict=False
        )
    program.example_inputs = None  # would be saved too, and may be the user's own data
    return program


def _output_names(outputs: Any) -> tuple[str, ...]:
    """Name tensors by their place; no layer's own value is called `output`."""
    leaves, _ = tree_flatten_with_path(outputs)
    return tuple(
        ".".join(["output", *re.findall(r"\w+", keystr(path))])
        for path, leaf in leaves
        if isinstance(leaf, Tensor)
    )


@contextmanager
def explained(what: str, *others: type[Exception]) -> Iterator[None]:
    """Turn an error of torch or an exporter into one line that begins with `what`."""
    caught: tuple[type[Exception], ...] = (*FOREIGN_ERRORS, *others)
    try:
        yield
    except caught as error:
        raise ExportError(f"{what}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return the sentence of an exporter's long message that says what went wrong.

    That is the first point of a list where there is one, or the first line of the first cause.
    """
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    points = re.findall(r"^\s*- (.+?)(?:\. |\.?$)", str(error), flags=re.MULTILINE)
    return points[0] if points else first_line(error)
