"""Independent ways to compute what rlprune claims: counting, masking and torch-pruning itself."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rlprune.graph.group_graph import GroupGraph
from rlprune.surgery.plan import Plan

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MIXERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *TRANSPOSED)


def counted_params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def counted_macs(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Half of PyTorch's own count of FLOPs for one image."""
    image = torch.empty(1, *input_shape, device="meta")
    on_meta = copy.deepcopy(model).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        on_meta(image)
    macs, rest = divmod(counter.get_total_flops(), 2)
    assert rest == 0
    return int(macs)


def random_plan(graph: GroupGraph, seed: int) -> Plan:
    """Keep a random, non-empty set of atoms in every group; floors are ignored on purpose."""
    rng = np.random.default_rng(seed)
    kept = {}
    for group in graph.groups:
        atoms = np.array(group.atoms or range(group.width))
        n = int(atoms.max()) + 1
        chosen = rng.choice(n, size=int(rng.integers(1, n + 1)), replace=False)
        kept[group.name] = np.flatnonzero(np.isin(atoms, chosen)).tolist()
    return Plan(kept, graph)


def masked(dense: nn.Module, plan: Plan) -> nn.Module:
    """Return the dense network that ignores removed channels: their readers' weights are zero.

    Channels pass unmixed through BatchNorm, activations and depthwise convolutions, so only layers
    that mix channels have to ignore them.
    """
    network = copy.deepcopy(dense)
    modules = dict(network.named_modules())
    found = 0
    with torch.no_grad():
        for tensor, dims in plan.graph.kept_positions(plan.kept).items():
            layer, _, name = tensor.rpartition(".")
            module = modules[layer]
            depthwise = getattr(module, "groups", 1) > 1
            reads = 0 if isinstance(module, TRANSPOSED) else 1
            if not isinstance(module, MIXERS) or depthwise or name != "weight" or reads not in dims:
                continue
            mask = torch.zeros(module.weight.shape[reads])
            mask[torch.from_numpy(dims[reads])] = 1
            shape = [-1 if dim == reads else 1 for dim in range(module.weight.ndim)]
            module.weight.mul_(mask.view(shape))
            found += 1
    assert found > 0
    return network


def pruned_by_torch_pruning(dense: nn.Module, example: Tensor, plan: Plan) -> nn.Module:
    """Let torch-pruning itself remove the plan's channels, one group after the other."""
    network = copy.deepcopy(dense).requires_grad_(True)
    dependency = dependency_graph(network, example)
    names = {module: name for name, module in network.named_modules()}
    todo = []
    for tp_group in dependency.get_all_groups():
        producers = {
            names[item.dep.target.module]
            for item in tp_group
            if isinstance(item.dep.target.module, MIXERS)
            and dependency.is_out_channel_pruning_fn(item.dep.handler)
        }
        ours = [group for group in plan.graph.groups if group.name in producers]
        if ours:
            removed = sorted(set(range(ours[0].width)) - set(plan.kept[ours[0].name]))
            todo.append((tp_group[0].dep.target.module, tp_group[0].dep.handler, removed))
    assert len(todo) == len(plan.graph.groups)
    for root, handler, removed in todo:
        if removed:
            dependency.get_pruning_group(root, handler, removed).prune()
    return network.eval()


def dependency_graph(network: nn.Module, example: Tensor) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tp.DependencyGraph().build_dependency(network, example, verbose=False)


def assert_same_tensors(first: nn.Module, second: nn.Module) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.shape == theirs[name].shape, name
        assert torch.equal(tensor, theirs[name]), name


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(images)
    return result
