"""Write down what was found as a `GroupGraph`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from rlprune.graph.group_graph import (
    ALWAYS_KEPT,
    Attribute,
    Group,
    GroupGraph,
    LeftOut,
    Operation,
    Run,
    Slice,
    TensorInfo,
)
from rlprune.graph.record import Recording
from rlprune.graph.units import Units
from rlprune.surgery.replay import tensors_of

BLOCK = "{} (block)"


def compile_graph(
    recording: Recording, units: Units, model: nn.Module, refused: Mapping[str, str]
) -> GroupGraph:
    """Turn the units of a recording into groups, slices and costs.

    Args:
        recording: of one forward pass.
        units: of the recording.
        model: that was recorded.
        refused: `{group: reason}` of blocks that are to be left out for other reasons.
    """
    reasons = {
        BLOCK.format(name): reason or refused.get(BLOCK.format(name), "")
        for name, reason in recording.blocks.items()
    }
    blocks = [name for name in recording.blocks if not reasons[BLOCK.format(name)]]
    left_out = units.left_out | {name: reason for name, reason in reasons.items() if reason}
    slices = _slices(recording, units)
    parameters, saved = {name for name, _ in model.named_parameters()}, set(model.state_dict())
    return GroupGraph(
        groups=_groups(units, slices, blocks),
        slices=slices,
        operations=_operations(recording, units),
        tensors={
            name: TensorInfo(
                shape=tuple(tensor.shape),
                dtype=str(tensor.dtype).removeprefix("torch."),
                is_parameter=name in parameters,
                is_saved=name in saved,
            )
            for name, tensor in tensors_of(model).items()
        },
        left_out=tuple(LeftOut(name=name, reason=reason) for name, reason in left_out.items()),
        attributes=_attributes(recording, units),
    )


def _groups(units: Units, slices: Sequence[Slice], blocks: Sequence[str]) -> tuple[Group, ...]:
    """Channel groups in forward order, then blocks: indices of channel groups stay as they are."""
    members = _members(units, slices)
    channels = [
        Group(
            name=found.name,
            width=len(found.roots),
            members=members[index],
            kind="heads" if found.heads else "channels",
            step=found.step,
            atoms=tuple(found.atoms.tolist()) if found.step > 1 else (),
            statistic=found.statistic,
        )
        for index, found in enumerate(units.groups)
    ]
    bypassed = [
        Group(name=BLOCK.format(name), width=1, members=(name,), kind="block") for name in blocks
    ]
    return (*channels, *bypassed)


def _members(units: Units, slices: Sequence[Slice]) -> list[tuple[str, ...]]:
    found: list[dict[str, None]] = [{} for _ in units.groups]
    for piece in slices:
        layer = piece.tensor.rpartition(".")[0] or piece.tensor
        for group in {run[0] for run in piece.runs} - {ALWAYS_KEPT}:
            found[group][f"{layer} (in)" if piece.reads else layer] = None
    return [tuple(names) for names in found]


def _slices(recording: Recording, units: Units) -> tuple[Slice, ...]:
    owners = [units.owner(operation.product.read) for operation in recording.operations]
    read = {int(owner.labels[0]) for owner in owners if owner is not None}
    slices = []
    for one in recording.dims:
        runs = units.runs(one.labels)
        if any(group != ALWAYS_KEPT for group, _, _ in runs):
            reads = int(one.labels[0]) in read
            slices.append(Slice(tensor=one.tensor, dim=one.dim, runs=runs, reads=reads))
    return tuple(slices)


def _operations(recording: Recording, units: Units) -> tuple[Operation, ...]:
    found = []
    for operation in recording.operations:
        product = operation.product
        owner = units.owner(product.written) or units.owner(product.read)
        found.append(
            Operation(
                module=operation.module,
                weight=owner.tensor if owner else "",
                macs=product.macs / operation.images,
                sizes=tuple(units.size(along) for along in product.extents),
                positions=product.positions / operation.images,
                depthwise=product.depthwise,
            )
        )
    return tuple(found)


def _attributes(recording: Recording, units: Units) -> tuple[Attribute, ...]:
    """Attributes that some call uses as a size, where all calls agree on what they count."""
    counted: dict[tuple[str, str], set[tuple[Run, ...]]] = {}
    for call in recording.sized:
        for slot, owner in call.attributes.items():
            if slot in call.counted:
                counted.setdefault(owner, set()).add(units.counted(call.counted[slot]))
    return tuple(
        Attribute(module=module, name=name, runs=next(iter(runs)))
        for (module, name), runs in counted.items()
        if len(runs) == 1 and any(g != ALWAYS_KEPT for g, _, _ in next(iter(runs)))
    )
