"""Short digests of what a measurement depends on, the same in every process.

A digest is BLAKE2b, 32 hexadecimal digits. It guards against mistakes, not against forgery.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path

from rlprune.calling import Inputs
from rlprune.graph.group_graph import GroupGraph

_BYTES = 16
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def combined(*parts: str) -> str:
    """Return one digest of several texts or digests; their order and their limits count."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=_BYTES).hexdigest()


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Digest names, types, shapes and elements, bit by bit: 0.0 and -0.0 differ.

    The order of the names, the device and the layout in memory do not count.
    """
    digest = hashlib.blake2b(digest_size=_BYTES)
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        # The header says how many bytes follow, so that no two mappings give one stream.
        header = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        digest.update(header.encode())
        plain = tensor.resolve_conj().resolve_neg().cpu().contiguous()
        # Not `reshape(-1)`: it may give a single element a stride that `view` does not take.
        flat = plain.as_strided((plain.numel(),), (1,))
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def of_inputs(inputs: Inputs) -> str:
    """Digest a batch: its tensors and where each stands in the nested value."""
    leaves, _ = tree_flatten_with_path(inputs)
    return of_tensors({keystr(path): tensor for path, tensor in leaves})


def of_graph(graph: GroupGraph) -> str:
    """Digest all that a graph holds: groups, costs, ranking, and what was left out."""
    return combined(graph.model_dump_json())


def of_device(device: torch.device, threads: int) -> str:
    """Digest what decides how fast a network runs, as far as PyTorch can tell.

    Two equal GPUs of one machine have one digest. What else runs on the machine does not count, nor
    do PyTorch's settings of precision (TF32), which the outputs of a network show.

    Args:
        device: where it runs.
        threads: of PyTorch, within an operation.
    """
    facts = [
        device.type,
        processor_name(),
        platform.machine(),
        f"{os.cpu_count()} cores",
        f"{threads} threads",
        f"torch {torch.__version__}",
        torch.backends.cpu.get_cpu_capability(),
    ]
    return combined(*facts, *(_cuda_facts(device) if device.type == "cuda" else ()))


def of_problem(
    model: nn.Module, graph: GroupGraph, inputs: Inputs, targets: Tensor, dense_outputs: Tensor
) -> str:
    """Digest a network, the data that it is measured on, and where.

    The code of a forward is in no weight: the outputs stand for it. The device is that of the
    outputs, with the number of threads that PyTorch uses now.

    Args:
        model: the dense network, in eval mode.
        graph: its dependency groups.
        inputs: the samples that plans are scored on.
        targets: theirs.
        dense_outputs: the main output of `model` for `inputs`.
    """
    return combined(
        of_tensors({**dict(model.named_parameters()), **dict(model.named_buffers())}),
        of_graph(graph),
        of_inputs(inputs),
        of_tensors({"targets": targets, "outputs": dense_outputs}),
        of_device(dense_outputs.device, torch.get_num_threads()),
    )


def processor_name() -> str:
    """Return the processor's model, or its architecture where the system does not say more."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cuda_facts(device: torch.device) -> list[str]:
    properties = torch.cuda.get_device_properties(device)
    return [
        properties.name,
        f"capability {properties.major}.{properties.minor}",
        f"{properties.multi_processor_count} multiprocessors",  # a part of a GPU has fewer
        f"CUDA {torch.version.cuda}",
        _NVIDIA_DRIVER.read_text() if _NVIDIA_DRIVER.is_file() else "",
    ]
