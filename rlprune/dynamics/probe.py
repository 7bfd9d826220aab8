"""What can be measured on a finished network, whoever trained it.

One pass of forward hooks over 512 samples at most, 8 backward passes over the same and 12 over the
first of their mini-batches, and one more forward pass of that mini-batch per weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Self

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from rlprune.calling import call, main_output, take, tensors_in
from rlprune.criteria.base import Probe
from rlprune.criteria.gradients import gradients, leaves, loss_at
from rlprune.criteria.watching import watching
from rlprune.data.splits import DataSplits
from rlprune.dynamics.activations import Hooks
from rlprune.dynamics.curvature import Batch, hessian_traces, sharpness
from rlprune.dynamics.dataset import traits_of
from rlprune.dynamics.gradients import GradientSums
from rlprune.dynamics.layers import Watched, watched, weights_of
from rlprune.dynamics.record import Curvature, DataTraits, Drift, Dynamics, Layer
from rlprune.errors import DynamicsError, first_fault
from rlprune.evaluate.tasks import Task
from rlprune.graph.group_graph import GroupGraph

BATCHES = 8
"""Mini-batches over which gradients are compared."""

_LARGEST_BATCH, _SMALLEST_BATCH = 64, 8
_NUMBERS = 2**20
"""Of a mini-batch's inputs, so that large images come in smaller mini-batches."""


@dataclass(frozen=True)
class HeldOut:
    """Samples that a network did not learn from.

    Attributes:
        probe: the network and the samples; its dependency groups are not looked at.
        train_samples: how many samples the network did learn from.
    """

    probe: Probe
    train_samples: int

    @classmethod
    def of(cls, model: nn.Module, data: DataSplits, task: Task, seed: int = 0) -> Self:
        """Draw samples from the search split.

        Args:
            model: any module, on the device that it is to be probed on.
            data: the task that it is for.
            task: what loss means.
            seed: of the choice, and of whatever is drawn later.
        """
        ungrouped = GroupGraph(groups=(), slices=(), operations=(), tensors={})
        samples = BATCHES * _LARGEST_BATCH
        probe = Probe.build(model, ungrouped, data, task, samples=samples, seed=seed)
        return cls(probe, len(data.train))


@dataclass(frozen=True)
class Measured:
    """What is measured on a finished network."""

    hooks: Hooks
    gradients: GradientSums
    curvature: dict[str, Curvature]
    data: DataTraits


def probe(held_out: HeldOut, weights: Sequence[str] | None = None) -> Dynamics:
    """Measure a finished network; it ends as it was.

    Args:
        held_out: the network and samples.
        weights: names of its weights to look at; all with two or more dimensions when None.

    Raises:
        DynamicsError: if there are no weights or no samples, or numbers that are not finite.
        UnknownNameError: if a weight does not exist.
    """
    layers = watched(held_out.probe.model, weights)
    with only_finite():
        found = measure(held_out, layers)
        return Dynamics(
            watched=False,
            steps=0,
            layers=tuple(
                layer_of(layer, found.gradients, found.hooks, found.curvature[layer.name])
                for layer in layers
            ),
            trajectory=None,
            data=found.data,
        )


def layer_of(
    layer: Watched,
    sums: GradientSums,
    hooks: Hooks,
    curvature: Curvature | None,
    drift: Drift | None = None,
) -> Layer:
    """Return what is known of one weight; see `Layer`."""
    return Layer(
        weight=layer.name,
        shape=tuple(layer.weight.shape),
        weights=weights_of(layer),
        gradients=sums.summary(layer.name),
        activations=hooks.summary(layer.name),
        curvature=curvature,
        drift=drift,
    )


def measure(held_out: HeldOut, layers: Sequence[Watched]) -> Measured:
    """Measure a network in inference mode; it ends in the mode that it was in.

    Raises:
        DynamicsError: if there are no samples.
    """
    on = held_out.probe
    if not len(on):
        raise DynamicsError("there are no samples to probe the network with; give at least one")
    names = [layer.name for layer in layers]
    size = _batch_size(on)
    batches = list(islice(on.batches(size), BATCHES))
    with _in_eval_mode(on.model):
        hooks, outputs = _look(on, layers, batches)
        sums = _gradients(on, layers, batches)
        traces = hessian_traces(on, names, batches[0])
        increases = sharpness(on, names, batches[0])
    curvature = {
        name: Curvature(
            hessian_trace=traces[name] if traces else None,
            fisher=sums.fisher(name, size),
            sharpness=increases[name],
        )
        for name in names
    }
    return Measured(hooks, sums, curvature, traits_of(on, outputs, held_out.train_samples))


@contextmanager
def only_finite() -> Iterator[None]:
    """Say of numbers that no record can hold where they come from."""
    try:
        yield
    except ValidationError as error:
        raise DynamicsError(
            f"{error.title} of the network cannot be recorded ({first_fault(error)}): its "
            "training has diverged, or its samples hold NaN or infinity; train it again with a "
            "smaller learning rate"
        ) from error


@torch.no_grad()
def _look(on: Probe, layers: Sequence[Watched], batches: Sequence[Batch]) -> tuple[Hooks, Tensor]:
    """Run the network once; `watching` makes PyTorch's own attention call all of its layers."""
    hooks = Hooks(layers, lambda: True)
    hooks.attach()
    try:
        with watching(on.model, ()):
            outputs = [main_output(call(on.model, inputs)) for inputs, _ in batches]
    finally:
        hooks.remove()
    return hooks, torch.cat(outputs)


@torch.enable_grad()
def _gradients(on: Probe, layers: Sequence[Watched], batches: Sequence[Batch]) -> GradientSums:
    everything = leaves(on)
    tensors = {layer.name: everything[layer.name] for layer in layers}
    values = {layer.name: layer.values for layer in layers}
    sums = GradientSums()
    for batch in batches:
        slopes = gradients(loss_at(on, tensors, *batch), list(tensors.values()))
        sums.add(values, dict(zip(tensors, slopes, strict=True)))
    return sums


def _batch_size(on: Probe) -> int:
    """Samples of a mini-batch: all are of one size, however few samples there are."""
    numbers = sum(tensor.numel() for tensor in tensors_in(take(on.inputs, slice(1))))
    fitting = max(_SMALLEST_BATCH, min(_LARGEST_BATCH, _NUMBERS // numbers))
    return max(1, min(fitting, len(on) // BATCHES))


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
