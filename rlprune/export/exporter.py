"""Write a network as a file, and compare the file with the network before it is kept."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rlprune.calling import Inputs, shapes, to_device
from rlprune.errors import ExportError, UnknownNameError
from rlprune.export.check import TOLERANCE, Difference, ExportCheck, compare
from rlprune.export.formats import FORMATS, Format
from rlprune.export.quiet import quiet
from rlprune.export.tracing import Traced, explained, trace_program
from rlprune.files import staged_folder
from rlprune.report.run_folder import check_free


def export_model(model: nn.Module, example: Inputs, folder: Path, format: str) -> ExportCheck:
    """Write a network to a new folder, as a file that takes batches of any size.

    Where the network fixes the batch size, the file takes batches of the example's size only, and
    the check says why.

    Args:
        model: the network; it stays as it is, and is exported in evaluation mode.
        example: what it takes: a tensor, a tuple (positional) or a dict (by keyword) of tensors,
            all with the batch along their first dimension.
        folder: where `model.onnx` or `model.pt2` is written; must be free.
        format: one of `FORMATS`.

    Raises:
        ExportError: if the network cannot be exported, or the file computes something else;
            nothing is written then.
        RunError: if the folder holds something.
    """
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
    target = FORMATS[format]()
    check_free(folder)
    _check_example(example)
    network = copy.deepcopy(model).cpu().eval()
    with torch.no_grad():
        traced = trace_program(network, to_device(example, torch.device("cpu")))
        with staged_folder(folder) as staging:
            others = ", ".join(name for name in FORMATS if name != format)
            what = f"{type(model).__name__} cannot be exported as {format} (try {others})"
            with explained(what, *target.errors):
                differences = _write_and_compare(target, traced, staging / target.file)
            _check_close(differences, f"{target.file} of {type(model).__name__}")
            size = sum(path.stat().st_size for path in staging.iterdir())
    return ExportCheck(folder / target.file, size, differences, traced.batch_fixed_by)


def _check_example(example: Inputs) -> None:
    sizes = {
        leaf.shape[0] if isinstance(leaf, Tensor) and leaf.ndim else 0
        for leaf in tree_leaves(example)
    }
    if len(sizes) != 1 or 0 in sizes:
        raise ExportError(
            f"the example has shape {shapes(example)}; give tensors that all have the same batch "
            "size, 1 or more, as their first dimension"
        )


def _write_and_compare(target: Format, traced: Traced, path: Path) -> dict[int, Difference]:
    with quiet():
        target.write(traced, path)
        run = target.load(path)
    return {
        size: compare(run(inputs), expected) for size, (inputs, expected) in traced.expected.items()
    }


def _check_close(differences: dict[int, Difference], what: str) -> None:
    for size, difference in differences.items():
        if not difference.relative <= TOLERANCE:  # so that NaN is an error too
            raise ExportError(
                f"{what} differs from torch by {difference.absolute:.2g} at batch {size}, "
                f"{difference.relative:.2g} of the largest output (allowed: {TOLERANCE:g}); its "
                "forward pass must compute the same every time, without NaN or infinity"
            )
