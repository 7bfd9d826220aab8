"""Physically remove channels and blocks: slice pristine tensors into a skeleton of the model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from rlprune.calling import tensors_in
from rlprune.errors import PlanError
from rlprune.graph.group_graph import GroupGraph
from rlprune.surgery.resized import resize
from rlprune.surgery.sizes import set_sizes

Kept: TypeAlias = Mapping[str, tuple[int, ...]]


class Bypass(nn.Identity):
    """What a removed block leaves: its first input, whatever else it was given."""

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the first argument."""
        return input


def materialise(model: nn.Module, graph: GroupGraph, kept: Kept) -> nn.Module:
    """Return a new, physically smaller model; the original keeps its tensors untouched.

    Args:
        model: the dense network (the one traced, or another with the same tensor shapes).
        graph: its dependency groups.
        kept: kept root channels per group.

    Raises:
        PlanError: if the model's tensors do not have the shapes that the graph was traced with.
    """
    tensors = tensors_of(model)
    check_shapes(tensors, graph)
    small = skeleton(model)
    install(small, sliced(tensors, graph, kept))
    adapt(small, graph, kept)
    return small


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict and the buffers that are not in it."""
    return {**dict(model.named_buffers(remove_duplicate=False)), **model.state_dict()}


def sliced(tensors: Mapping[str, Tensor], graph: GroupGraph, kept: Kept) -> dict[str, Tensor]:
    """Return what a decision leaves of the dense tensors, all of them copies."""
    positions = graph.kept_positions(kept)
    small = {}
    for name, tensor in tensors.items():
        piece = tensor
        for dim, where in positions.get(name, {}).items():
            piece = piece.index_select(dim, torch.from_numpy(where).to(tensor.device))
        small[name] = tensor.clone() if piece is tensor else piece
    return small


def install(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replace the tensors of a model by name and set its layers' sizes from the new shapes.

    Layers that hold the same parameter hold the same one afterwards. Tensors that are not named
    stay as they are.
    """
    replaced: dict[nn.Parameter, nn.Parameter] = {}
    for prefix, module in model.named_modules():
        dot = f"{prefix}." if prefix else ""
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in replaced and dot + name in tensors:
                tensor = tensors[dot + name].detach()
                replaced[parameter] = nn.Parameter(tensor, requires_grad=parameter.requires_grad)
            setattr(module, name, replaced.get(parameter, parameter))
        for name, _ in list(module.named_buffers(recurse=False)):
            if dot + name in tensors:
                setattr(module, name, tensors[dot + name].detach())
    for module in model.modules():  # after all tensors: some layers look at those of their children
        set_sizes(module)


def adapt(model: nn.Module, graph: GroupGraph, kept: Kept) -> None:
    """Set what else a decision changes: attributes, sizes named in forwards, bypassed blocks."""
    sizes = [runs for one in graph.resizes for runs in one.sizes.values()]
    followed = [*(attribute.runs for attribute in graph.attributes), *sizes]
    counts = iter(graph.counts(kept, followed) if followed else ())
    for attribute in graph.attributes:
        module = _module(model, attribute.module)
        if not isinstance(getattr(module, attribute.name, None), int):
            raise PlanError(
                f"the plan was made for another network: {attribute.module!r} has no integer "
                f"attribute {attribute.name!r}"
            )
        setattr(module, attribute.name, next(counts))
    by_module: dict[str, dict[str, dict[int, int]]] = {}
    for one in graph.resizes:
        found = {slot: next(counts) for slot in one.sizes}
        if one.open_slot is not None:
            found[one.open_slot] = -1
        by_module.setdefault(one.module, {})[one.call] = found
    for name, calls in by_module.items():
        resize(_module(model, name), calls)
    for name in graph.bypassed(kept):
        parent, _, child = name.rpartition(".")
        setattr(_module(model, parent), child, Bypass())


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise PlanError(f"the plan was made for another network: no module {name!r}") from error


def check_shapes(tensors: Mapping[str, Tensor], graph: GroupGraph) -> None:
    """Raise `PlanError` naming the first tensor that is not as it was when `graph` was traced."""
    cut = {piece.tensor for piece in graph.slices}
    for name, info in graph.tensors.items():
        if not info.is_saved and name not in cut:
            continue  # a forward may fill in such a buffer
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != info.shape:
            raise PlanError(
                f"the plan was made for another network: {name!r} should have shape "
                f"{info.shape}, found {found or 'no such tensor'}"
            )


def skeleton(model: nn.Module) -> nn.Module:
    """Copy the module tree while sharing its tensors.

    Some modules keep tensors that they have computed while evaluating; these are dropped, as they
    are when such a module is trained.
    """
    shared = [*model.parameters(), *model.buffers()]
    for module in model.modules():
        held = (v for n, v in vars(module).items() if not n.startswith("_"))
        shared += tensors_in([v for v in held if isinstance(v, Tensor | dict | list | tuple)])
    copied = copy.deepcopy(model, memo={id(tensor): tensor for tensor in shared})
    modes = [(module, module.training) for module in copied.modules()]
    copied.train()
    for module, mode in modes:
        module.training = mode
    return copied
