"""Prune every group once, for real, and leave out those that do not behave as traced.

torch-pruning takes operations that it does not know for element-wise ones. Removing channels is
exact only if the network then computes what the dense network computes when it ignores them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlprune.errors import FOREIGN_ERRORS, first_line
from rlprune.graph.group_graph import Group, GroupGraph
from rlprune.graph.members import input_dims
from rlprune.progress import track
from rlprune.surgery.replay import materialise

# The error allowed, as a share of the effect that removing the channels has, and of the output.
_SHARE_OF_EFFECT, _SHARE_OF_OUTPUT = 1e-2, 1e-5


def unsound_groups(model: nn.Module, graph: GroupGraph, example_input: Tensor) -> dict[str, str]:
    """Return `{group: reason}` of the groups that cannot be pruned exactly.

    Args:
        model: the dense network, in eval mode.
        graph: its groups as compiled.
        example_input: a small batch.
    """
    with torch.no_grad():
        dense = model(example_input)
        if not isinstance(dense, Tensor):
            return {}
        reasons = {
            group.name: _reason(model, graph, group, example_input, dense)
            for group in track(graph.groups, "checking groups")
        }
    return {name: reason for name, reason in reasons.items() if reason}


def _reason(
    model: nn.Module, graph: GroupGraph, group: Group, example_input: Tensor, dense: Tensor
) -> str:
    atoms = group.atoms or range(group.width)
    kept = {g.name: tuple(range(g.width)) for g in graph.groups}
    kept[group.name] = tuple(c for c, atom in enumerate(atoms) if atom % 2 == 0)
    ignoring = torch.func.functional_call(model, _masked(model, graph, kept), (example_input,))
    try:
        pruned = materialise(model, graph, kept)(example_input)
    except FOREIGN_ERRORS as error:
        return f"the model does not run without some of its channels: {first_line(error)}"
    if pruned.shape != dense.shape:
        return "the shape of the model's output depends on its channels"
    allowed = _SHARE_OF_EFFECT * _most(ignoring - dense) + _SHARE_OF_OUTPUT * _most(dense)
    if _most(pruned - ignoring) > allowed:
        return "an operation outside the layers mixes its channels"
    return ""


def _masked(
    model: nn.Module, graph: GroupGraph, kept: dict[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Return the weights of the layers that read removed channels, zero where they read them."""
    modules = dict(model.named_modules())
    masked = {}
    for tensor, dims in graph.kept_positions(kept).items():
        layer, _, name = tensor.rpartition(".")
        module = modules[layer]
        reads = input_dims(module).get(name)
        if reads is None or reads not in dims:
            continue
        weight = module.get_parameter(name)
        mask = torch.zeros(weight.shape[reads], dtype=weight.dtype, device=weight.device)
        mask[torch.from_numpy(dims[reads])] = 1
        masked[tensor] = weight * mask.view([-1 if d == reads else 1 for d in range(weight.ndim)])
    return masked


def _most(tensor: Tensor) -> float:
    return float(tensor.abs().max())
