"""Physically remove channels: slice pristine tensors into a skeleton of the model."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rlprune.errors import PlanError
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.members import is_depthwise, set_sizes

Kept = Mapping[str, tuple[int, ...]]


def materialise(model: nn.Module, graph: GroupGraph, kept: Kept) -> nn.Module:
    """Return a new, physically smaller model; the original keeps its tensors untouched.

    Args:
        model: the dense network (the one traced, or another with the same tensor shapes).
        graph: its dependency groups.
        kept: kept root channels per group.

    Raises:
        PlanError: if the model's tensors do not have the shapes that the graph was traced with.
    """
    tensors = model.state_dict()
    check_shapes(tensors, graph)
    sliced = {}
    for name, dims in graph.kept_positions(kept).items():
        tensor = tensors[name]
        for dim, positions in dims.items():
            index = torch.from_numpy(positions).to(tensor.device)
            tensor = tensor.index_select(dim, index)
        sliced[name] = tensor
    small = _skeleton(model)
    install(small, {name: sliced.get(name, tensor.clone()) for name, tensor in tensors.items()})
    return small


def install(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replace the tensors of a model by name and set its layers' sizes from the new shapes.

    Layers that hold the same parameter hold the same one afterwards.
    """
    replaced: dict[nn.Parameter, nn.Parameter] = {}
    for prefix, module in model.named_modules():
        depthwise = is_depthwise(module)
        dot = f"{prefix}." if prefix else ""
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in replaced:
                tensor = tensors[dot + name].detach()
                replaced[parameter] = nn.Parameter(tensor, requires_grad=parameter.requires_grad)
            setattr(module, name, replaced[parameter])
        for name, _ in list(module.named_buffers(recurse=False)):
            if dot + name in tensors:
                setattr(module, name, tensors[dot + name].detach())
        set_sizes(module, depthwise)


def _skeleton(model: nn.Module) -> nn.Module:
    """Copy the module tree while sharing its tensors, which `install` then replaces."""
    shared = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, memo={id(tensor): tensor for tensor in shared})


def check_shapes(tensors: Mapping[str, Tensor], graph: GroupGraph) -> None:
    """Raise `PlanError` naming the first tensor that is not as it was when `graph` was traced."""
    for name, info in graph.tensors.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != info.shape:
            raise PlanError(
                f"the plan was made for another network: {name!r} should have shape "
                f"{info.shape}, found {found or 'no such tensor'}"
            )
