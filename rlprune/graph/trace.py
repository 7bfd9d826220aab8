"""Trace a network once: follow a forward pass, find its groups, and check them by pruning."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.parameter import is_lazy

from rlprune.calling import Inputs, tensors_in
from rlprune.criteria.norms import group_norms
from rlprune.errors import FOREIGN_ERRORS, ModelError, first_line
from rlprune.finite import check_finite
from rlprune.graph.compile import compile_graph
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.keep import keep_layers
from rlprune.graph.learn import with_sizes
from rlprune.graph.record import Recording, record
from rlprune.graph.units import Units
from rlprune.graph.verify import Verification
from rlprune.surgery.replay import skeleton


def trace(
    model: nn.Module,
    example_input: Inputs,
    *,
    keep: Sequence[str] = (),
    residual_width: bool = False,
) -> GroupGraph:
    """Find the dependency groups of a model; the model itself is left as it is.

    Args:
        model: any module; frozen parameters are traced all the same.
        example_input: a batch on the model's device: a tensor, a tuple of positional or a dict of
            keyword arguments.
        keep: names or patterns (`layer1.*`) of modules that are to stay as they are.
        residual_width: also prune channels that several layers write and a LayerNorm averages over
            (the width of a transformer); what remains of them then sees other statistics.

    Returns:
        The groups that can be pruned, channels in forward order and then blocks; `left_out` names
        the others.

    Raises:
        ModelError: if the model has no usable weights, or does not run on the example.
        TraceError: if the model's forward decides what to do by the values of its input.
        UnknownNameError: if a pattern of `keep` matches nothing.
    """
    _check_model(model)
    copied = skeleton(model).eval()
    recording = _record(copied, example_input)
    keep_layers(recording, copied, keep)
    graph = _sound(copied, recording, example_input, residual_width=residual_width)
    return graph.ranked_by(group_norms(model, graph))


def _sound(
    model: nn.Module, recording: Recording, inputs: Inputs, *, residual_width: bool
) -> GroupGraph:
    """Compile, and compile again without the groups that turn out not to be prunable."""
    verification = Verification(model, inputs)
    refused: dict[str, str] = {}
    while True:
        units = Units(recording, refused, residual_width=residual_width)
        compiled = compile_graph(recording, units, model, refused)
        graph = with_sizes(model, compiled, recording, units, inputs)
        if verification.holds(graph):
            return graph
        if compiled.attributes:
            # Some forwards derive other numbers from an attribute (a scale, say): leave it alone.
            compiled = compiled.model_copy(update={"attributes": ()})
            graph = with_sizes(model, compiled, recording, units, inputs)
        found = verification.unsound(graph)
        if not found:
            return graph
        refused |= found


def _check_model(model: nn.Module) -> None:
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ModelError(
            f"the model is wrapped in {type(model).__name__}; give the network inside: model.module"
        )
    parameters = list(model.parameters())
    if not parameters:
        raise ModelError("the model has no parameters, so there is nothing to prune")
    if any(tensor.is_meta for tensor in (*parameters, *model.buffers())):
        raise ModelError(
            "the model has weights on the meta device, without values; load its weights first"
        )
    halves = {t.dtype for t in parameters if t.is_floating_point() and t.dtype.itemsize < 4}
    if halves:
        name = str(halves.pop()).removeprefix("torch.")
        raise ModelError(
            f"the model has {name} weights, too coarse to check what pruning does to it; call "
            "model.float() first and convert the pruned model afterwards"
        )
    if any(is_lazy(tensor) for tensor in (*parameters, *model.buffers())):
        raise ModelError("the model has lazy layers without sizes yet; run it once first")
    check_finite(model, "the model")


def _record(model: nn.Module, inputs: Inputs) -> Recording:
    try:
        recording = record(model, inputs)
    except FOREIGN_ERRORS as error:
        given = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_in(inputs))
        raise ModelError(
            f"the model does not run on an input of shape {given}: {first_line(error)}"
        ) from error
    if not recording.outputs:
        raise ModelError(
            "the model returns nothing with a tensor in it; return a tensor, or a tuple or dict "
            "of tensors"
        )
    if not all(bool(t.isfinite().all()) for t in recording.outputs if t.is_floating_point()):
        raise ModelError(
            "the model returns NaN or infinity on the example input, so nothing can be checked; "
            "give another example or look at the model's weights"
        )
    return recording
