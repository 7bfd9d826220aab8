"""A pruned network from nothing but its architecture and a state dict."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from rlprune.calling import Inputs
from rlprune.cost.analytic import Widths
from rlprune.errors import PlanError
from rlprune.graph.group_graph import ALWAYS_KEPT, GroupGraph
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
    widths = graph.widths.copy()
    for module, group in graph.blocks.items():
        widths[group] = any(name.startswith(f"{module}.") for name in tensors)
    for piece in graph.slices:
        groups = {g for g, _, _ in piece.runs if g != ALWAYS_KEPT}
        if len(groups) != 1 or piece.tensor not in tensors:
            continue
        group = groups.pop()
        fixed = sum(length for g, _, length in piece.runs if g == ALWAYS_KEPT)
        full = sum(length for _, _, length in piece.runs) - fixed
        if piece.dim >= tensors[piece.tensor].ndim:
            continue
        left = tensors[piece.tensor].shape[piece.dim] - fixed
        width, rest = divmod(left * graph.groups[group].width, full)
        if rest or not 0 < width <= graph.groups[group].width or width % graph.groups[group].step:
            raise PlanError(
                f"the state dict is not one of this architecture, pruned: {piece.tensor!r} leaves "
                f"{width} of {graph.groups[group].width} channels of group "
                f"{graph.groups[group].name!r}, which go in steps of {graph.groups[group].step}"
            )
        widths[group] = width
    return widths
