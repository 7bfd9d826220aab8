"""A pruned network from nothing but its architecture and a state dict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from torch import Tensor, nn

from rlprune.calling import Inputs
from rlprune.cost.analytic import Widths
from rlprune.errors import PlanError
from rlprune.graph.group_graph import ALWAYS_KEPT, GroupGraph, Slice
from rlprune.graph.trace import trace
from rlprune.surgery.plan import Plan
from rlprune.surgery.replay import materialise
from rlprune.surgery.storage import check_pruned


def restore(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    example_input: Inputs,
    *,
    residual_width: bool = False,
) -> nn.Module:
    """Load a pruned network's plain `state_dict` into its dense architecture, by shapes.

    The dense model is traced, the width of every group is read from the shapes, and sizes and
    attributes follow. Which channels were kept is not in a state dict and not needed.

    Args:
        model: the dense architecture, with any weights; it is left as it is.
        state_dict: of the pruned network; a block without tensors is one that was removed.
        example_input: a batch that the dense model runs on.
        residual_width: see `trace`; for networks whose residual width was pruned.

    Returns:
        The pruned network in eval mode.

    Raises:
        PlanError: if the shapes are not those of a pruned version of the model.
    """
    graph = trace(model, example_input, residual_width=residual_width)
    plan = Plan.from_widths(graph, _widths(graph, state_dict))
    check_pruned(state_dict, plan, "the state dict")
    small = materialise(model, graph, plan.kept)
    small.load_state_dict(state_dict)
    return small.eval()


def _widths(graph: GroupGraph, tensors: Mapping[str, Tensor]) -> Widths:
    """Solve for the widths: every dimension of a tensor is a sum over groups."""
    widths = graph.widths.copy()
    for module, group in graph.blocks.items():
        widths[group] = any(name.startswith(f"{module}.") for name in tensors)
    unknown = {index for index, group in enumerate(graph.groups) if group.kind != "block"}
    pieces = [p for p in graph.slices if p.tensor in tensors and p.dim < tensors[p.tensor].ndim]
    solved = True
    while solved:
        solved = False
        for piece in pieces:
            lengths = Counter[int]()
            for group, _, length in piece.runs:
                lengths[group] += length
            left = lengths.keys() & unknown
            if len(left) == 1:
                group = left.pop()
                widths[group] = _width(graph, piece, lengths, widths, group, tensors[piece.tensor])
                unknown.discard(group)
                solved = True
            elif len(lengths) == 1 and not left:
                group = next(iter(lengths))  # what is known already must be possible here too
                _width(graph, piece, lengths, widths, group, tensors[piece.tensor])
    return widths


def _width(
    graph: GroupGraph,
    piece: Slice,
    lengths: Mapping[int, int],
    widths: Widths,
    group: int,
    tensor: Tensor,
) -> int:
    """Return the width of the only group of a dimension that is not known yet."""
    left = tensor.shape[piece.dim]
    for other, length in lengths.items():
        if other == ALWAYS_KEPT:
            left -= length
        elif other != group:
            left -= length * int(widths[other]) // graph.groups[other].width
    whole = graph.groups[group]
    width, rest = divmod(left * whole.width, lengths[group])
    if rest or not 0 < width <= whole.width or width % whole.step:
        raise PlanError(
            f"the state dict is not one of this architecture, pruned: {piece.tensor!r} leaves "
            f"{width} of {whole.width} channels of group {whole.name!r}, which go in steps of "
            f"{whole.step}"
        )
    return width
