"""Independent ways to compute what rlprune claims: counting, masking and torch-pruning itself."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rlprune.calling import Inputs, batch_size, call, take, tensors_in
from rlprune.graph.group_graph import GroupGraph
from rlprune.surgery.plan import Plan

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
AVERAGING = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
MIXERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *TRANSPOSED)


def counted_params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def counted_macs(model: nn.Module, example: Inputs | tuple[int, ...]) -> int:
    """Half of PyTorch's own count of FLOPs for one sample: a batch, or the shape of an image."""
    if isinstance(example, tuple) and isinstance(example[0], int):
        example = torch.zeros(1, *example)
    with _unfused(), FlopCounterMode(display=False) as counter:
        _run(model, take(example, slice(0, 1)))
    macs, rest = divmod(counter.get_total_flops(), 2)
    assert rest == 0
    return int(macs)


@contextmanager
def _unfused() -> Iterator[None]:
    """Run attention and recurrent layers operator by operator: fused kernels are not counted."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("ignore", "TF32 acceleration")  # whatever the flags are set to
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def random_plan(graph: GroupGraph, seed: int) -> Plan:
    """Keep a random, non-empty set of atoms in every group; floors are ignored on purpose.

    One block in three is removed.
    """
    rng = np.random.default_rng(seed)
    kept = {}
    for group in graph.groups:
        atoms = group.atom_of
        n = int(atoms.max()) + 1
        least = int(rng.random() > 1 / 3) if group.kind == "block" else 1
        chosen = rng.choice(n, size=int(rng.integers(least, n + 1)), replace=False)
        kept[group.name] = np.flatnonzero(np.isin(atoms, chosen)).tolist()
    return Plan(kept, graph)


def masked(dense: nn.Module, plan: Plan) -> nn.Module:
    """Return the dense network, at its full size, in which removed channels do nothing.

    Every weight that would go is zero, whoever holds it, so that nothing is written to a removed
    channel and nothing is read from it. Layers that average over channels (LayerNorm and the like)
    average over those that stay, and a removed block returns what it is given.
    """
    network = copy.deepcopy(dense)
    tensors = dict(network.named_parameters(remove_duplicate=False))
    positions = plan.graph.kept_positions(plan.kept)
    with torch.no_grad():
        for name, dims in positions.items():
            for dim, kept in dims.items():
                if name in tensors:
                    tensors[name].mul_(_stays(tensors[name].shape, {dim: kept}))
    for name, module in list(network.named_modules()):
        dims = positions.get(f"{name}.weight", {})
        if isinstance(module, AVERAGING) and dims and getattr(module, "num_groups", 1) == 1:
            _average_over(module, _stays(module.weight.shape, dims))
    for name, group in zip(plan.graph.names, plan.graph.groups, strict=True):
        if group.kind == "block" and not plan.kept[name]:
            parent, _, child = group.members[0].rpartition(".")
            setattr(network.get_submodule(parent), child, _First())
    return network


class _First(nn.Module):
    """Returns its first argument."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x


def _stays(shape: Sequence[int], dims: Mapping[int, npt.NDArray[np.int64]]) -> Tensor:
    """One where a tensor stays, zero where it goes."""
    mask = torch.ones(tuple(shape))
    for dim, kept in dims.items():
        line = torch.zeros(shape[dim])
        line[torch.from_numpy(kept)] = 1
        mask = mask * line.view([-1 if d == dim else 1 for d in range(len(shape))])
    return mask


def _average_over(module: nn.Module, stays: Tensor) -> None:
    """Make a normalisation layer average over the channels that stay."""
    channels_first = isinstance(module, nn.GroupNorm)

    def forward(x: Tensor) -> Tensor:
        shape = (-1, *[1] * (x.ndim - 2)) if channels_first else stays.shape
        here = stays.view(shape).expand(x.shape)
        dims = list(range(1, x.ndim)) if channels_first else list(range(-stays.ndim, 0))
        count = here.sum(dims, keepdim=True)
        mean = (x * here).sum(dims, keepdim=True) / count
        if isinstance(module, nn.RMSNorm):
            mean = torch.zeros_like(mean)
        centred = (x - mean) * here
        eps = torch.finfo(x.dtype).eps if module.eps is None else module.eps
        normal = centred / (centred.square().sum(dims, keepdim=True) / count + eps).sqrt()
        bias = getattr(module, "bias", None)
        scaled = normal * module.weight.view(shape)
        return scaled if bias is None else scaled + bias.view(shape)

    module.forward = forward


def plans(graph: GroupGraph, random: int = 4) -> Iterator[Plan]:
    """Yield plans that remove one atom, keep one atom, and random ones; only channels."""
    for group in graph.groups:
        if group.kind != "block":
            atoms = group.atom_of
            for atom in range(int(atoms.max()) + 1):
                yield Plan({group.name: np.flatnonzero(atoms != atom).tolist()}, graph)
                yield Plan({group.name: np.flatnonzero(atoms == atom).tolist()}, graph)
    for seed in range(random):
        yield random_plan(graph, seed)


def assert_exact(dense: nn.Module, plan: Plan, inputs: Inputs) -> None:
    """Assert that what was pruned computes, at several batch sizes, what the masked one does."""
    small, blind = plan.apply(dense), masked(dense, plan)
    for size in (1, batch_size(inputs)):
        batch = take(inputs, slice(0, size))
        found, expected = _run(small, batch), _run(blind, batch)
        assert [t.shape for t in found] == [t.shape for t in expected]
        for ours, theirs in zip(found, expected, strict=True):
            if not ours.is_floating_point():
                assert torch.equal(ours, theirs)
                continue
            scale = float(theirs.abs().max())
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * scale + 1e-7)


def _run(model: nn.Module, batch: Inputs) -> list[Tensor]:
    """Return all outputs; without PyTorch's fused transformer kernels, which skip sub-modules."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            return tensors_in(call(model, batch))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def channels_only(plan: Plan) -> Plan:
    """Return the plan with all blocks kept."""
    kept = {g.name: plan.kept[g.name] for g in plan.graph.groups if g.kind != "block"}
    return Plan(kept, plan.graph)


def pruned_by_torch_pruning(dense: nn.Module, example: Tensor, plan: Plan) -> nn.Module:
    """Let torch-pruning itself remove the plan's channels, one group after the other."""
    network = copy.deepcopy(dense).requires_grad_(True)
    dependency = dependency_graph(network, example)
    names = {module: name for name, module in network.named_modules()}
    positions = plan.graph.kept_positions(plan.kept)
    todo, written = [], set()
    for tp_group in dependency.get_all_groups():
        root, handler = tp_group[0].dep.target.module, tp_group[0].dep.handler
        dim = 1 if isinstance(root, TRANSPOSED) and root.groups == 1 else 0
        kept = positions.get(f"{names[root]}.weight", {}).get(dim)
        if kept is not None:
            removed = sorted(set(range(root.weight.shape[dim])) - set(kept.tolist()))
            todo.append((root, handler, removed))
            written |= {
                names[item.dep.target.module]
                for item in tp_group
                if dependency.is_out_channel_pruning_fn(item.dep.handler)
                and isinstance(item.dep.target.module, MIXERS)
            }
    channels = [group.name for group in plan.graph.groups if group.kind != "block"]
    assert len(todo) == len(channels)
    assert written.issuperset(channels)
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
