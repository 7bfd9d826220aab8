"""Trace a network once with torch-pruning and compile its groups into a `GroupGraph`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from rlprune.criteria.norms import group_norms
from rlprune.errors import FOREIGN_ERRORS, ModelError, TraceError, first_line
from rlprune.finite import check_finite
from rlprune.graph.compile import RawGroup, RawItem, compile_groups
from rlprune.graph.group_graph import GroupGraph, LeftOut, Operation, TensorInfo
from rlprune.graph.members import COUNTED, is_depthwise
from rlprune.graph.verify import unsound_groups


def trace(model: nn.Module, example_input: Tensor) -> GroupGraph:
    """Find the dependency groups of a model; the model itself is left as it is.

    Args:
        model: any module; frozen parameters are traced all the same.
        example_input: a batch of inputs, `(N, C, H, W)` float32, on the model's device.

    Returns:
        The groups that can be pruned, in forward order; `left_out` names the others.

    Raises:
        ModelError: if the weights hold NaN, or the model does not run on the example.
        TraceError: if torch-pruning cannot trace the model.
    """
    check_finite(model, "the model")
    copied = copy.deepcopy(model).eval().requires_grad_(True)
    positions, order = _record_forward(copied, example_input)
    try:
        raw = _raw_groups(_build_dependency(copied, example_input), copied, order)
        graph = _compile(copied, raw, positions, {})
    except FOREIGN_ERRORS as error:
        raise TraceError(
            f"the model cannot be traced by torch-pruning ({type(error).__name__}: "
            f"{first_line(error)}); simplify its forward or prune a part of it"
        ) from error
    unsound = unsound_groups(copied, graph, example_input)
    if unsound:
        graph = _compile(copied, raw, positions, unsound)
    norms = group_norms(model, graph)
    ranked = (g.model_copy(update={"norms": tuple(norms[g.name].tolist())}) for g in graph.groups)
    return graph.model_copy(update={"groups": tuple(ranked)})


def _compile(
    model: nn.Module,
    raw: Sequence[RawGroup],
    positions: Mapping[str, int],
    refused: Mapping[str, str],
) -> GroupGraph:
    groups, slices, left_out = compile_groups(model, raw, refused)
    names = {name for name, _ in model.named_parameters()}
    return GroupGraph(
        groups=tuple(groups),
        slices=tuple(slices),
        operations=tuple(
            Operation(
                weight=weight,
                positions=count,
                depthwise=is_depthwise(model.get_submodule(weight.rpartition(".")[0])),
            )
            for weight, count in positions.items()
        ),
        tensors={
            name: TensorInfo(shape=tuple(tensor.shape), is_parameter=name in names)
            for name, tensor in model.state_dict().items()
        },
        left_out=tuple(LeftOut(name=name, reason=reason) for name, reason in left_out.items()),
    )


def _record_forward(
    model: nn.Module, example_input: Tensor
) -> tuple[dict[str, int], dict[nn.Module, int]]:
    """Run once; return the output positions of every counted weight and the execution order."""
    positions: dict[str, int] = {}
    order: dict[nn.Module, int] = {}
    names = {module: name for name, module in model.named_modules()}

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        order.setdefault(module, len(order))
        if isinstance(module, COUNTED):
            # weight.shape[0] counts the outputs, or the inputs of a transposed convolution
            counted = inputs[0] if getattr(module, "transposed", False) else output
            images = int(module.weight.shape[0]) * example_input.shape[0]
            weight = f"{names[module]}.weight"
            positions[weight] = positions.get(weight, 0) + counted.numel() // images

    handles = [m.register_forward_hook(hook) for m in model.modules() if not list(m.children())]
    try:
        with torch.no_grad():
            model(example_input)
    except FOREIGN_ERRORS as error:
        shape = tuple(example_input.shape)
        raise ModelError(
            f"the model does not run on an input of shape {shape}: {first_line(error)}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return positions, order


def _build_dependency(model: nn.Module, example_input: Tensor) -> Any:
    graph = tp.DependencyGraph()
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        graph.build_dependency(model, (example_input,), verbose=False)
    layers = sum(isinstance(module, COUNTED) for module in model.modules())
    if len(graph.module2node) < 2 <= layers:
        raise TraceError(
            "the model cannot be traced: its output is detached from its parameters "
            "(remove no_grad, detach or .data from its forward)"
        )
    return graph


def _raw_groups(graph: Any, model: nn.Module, order: dict[nn.Module, int]) -> list[RawGroup]:
    """Walk torch-pruning's groups and return them in forward order."""
    names: dict[Any, str] = {module: name for name, module in model.named_modules()}

    def items(group: Any) -> list[RawItem]:
        return [
            RawItem(
                layer=names.get(item.dep.target.module, ""),
                module=item.dep.target.module,
                is_output=graph.is_out_channel_pruning_fn(item.dep.handler),
                is_sink=not item.dep.target.outputs,
                positions=tuple(item.idxs),
                roots=tuple(item.root_idxs),
            )
            for item in group
        ]

    found: list[tuple[int, RawGroup]] = []
    for group in graph.get_all_groups():
        root, fn = group[0].dep.target.module, group[0].dep.handler

        def ask(roots: Sequence[int], root: Any = root, fn: Any = fn) -> list[RawItem]:
            return items(graph.get_pruning_group(root, fn, list(roots)))

        traced = items(group)
        producers = [i.module for i in traced if isinstance(i.module, COUNTED) and i.is_output]
        first = min(producers, key=order.__getitem__)
        found.append((order[first], RawGroup(names[first], len(group[0].idxs), traced, ask)))
    return [raw for _, raw in sorted(found, key=lambda pair: pair[0])]
