"""The oracle of pruning: removing channels is the same as ignoring them."""

from __future__ import annotations

import copy

import numpy as np
import torch
from coverage_models import SEED
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

import rlprune
from rlprune.graph.group_graph import Group, GroupGraph


def exact_plan(graph: GroupGraph) -> rlprune.Plan | None:
    """Keep a random half of every group whose removal is the same as masking, None without any."""
    rng = np.random.default_rng(SEED)
    kept: dict[str, list[int]] = {}
    for group in graph.groups:
        if group.kind != "block" and not group.statistic:
            kept[group.name] = _random_half(group, rng)
    return rlprune.Plan(kept, graph) if kept else None


def _random_half(group: Group, rng: np.random.Generator) -> list[int]:
    atoms = group.atom_of
    count = int(atoms.max()) + 1
    chosen = rng.choice(count, size=max(1, count // 2), replace=False)
    return [int(c) for c in np.flatnonzero(np.isin(atoms, chosen))]


@torch.no_grad()
def masked(model: nn.Module, plan: rlprune.Plan) -> nn.Module:
    """Return the dense network that ignores removed channels: their readers' weights are zero."""
    network = copy.deepcopy(model)
    tensors = dict(network.named_parameters(remove_duplicate=False))
    read = {(piece.tensor, piece.dim) for piece in plan.graph.slices if piece.reads}
    for name, dims in plan.graph.kept_positions(plan.kept).items():
        layer = network.get_submodule(name.rpartition(".")[0])
        for dim, positions in dims.items():
            if name in tensors and _sums_over(layer, name, dim, (name, dim) in read):
                mask = torch.zeros(tensors[name].shape[dim], dtype=tensors[name].dtype)
                mask[torch.from_numpy(positions)] = 1
                shape = [-1 if d == dim else 1 for d in range(tensors[name].ndim)]
                tensors[name].mul_(mask.view(shape))
    return network


def _sums_over(layer: nn.Module, name: str, dim: int, read: bool) -> bool:
    """Whether a layer sums over a dimension of its tensor; `read` is what the graph says."""
    if not isinstance(layer, nn.Linear | _ConvNd):
        return read
    if isinstance(layer, _ConvNd) and layer.groups > 1:
        return False
    inputs = 0 if isinstance(layer, _ConvTransposeNd) else 1
    return name.endswith("weight") and dim == inputs
