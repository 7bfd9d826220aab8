"""Scores that look at no outputs: how much the network that a plan leaves could learn.

Zero-cost scores of architectures follow Abdelfattah et al. (ICLR 2021,
https://github.com/SamsungLabs/zero-cost-nas). Each is given as dense / pruned, so that fewer is
better and a network that loses nothing has 1.
"""

from __future__ import annotations

from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from rlprune.calling import Inputs, batch_size, call, main_output, take
from rlprune.evaluate.recalibrate import collecting_statistics
from rlprune.evaluate.search_score.base import Candidate, Scene
from rlprune.kernels import sound_gradients
from rlprune.surgery.plan import Plan

# In: so little that no ReLU6 saturates; out: still far from the least float64.
_SYNFLOW_INPUT = 1e-30


class Params:
    """Kept fraction of the parameters; at equal MACs, few mean wide early layers."""

    def __init__(self, scene: Scene) -> None:
        self._graph = scene.graph

    def __call__(self, candidate: Candidate) -> float:
        """Return the fraction, in (0, 1]."""
        return self._graph.params(candidate.plan) / self._graph.params()


class Bottleneck:
    """Dense width / kept width of the group of channels that is cut most; blocks do not count."""

    def __init__(self, scene: Scene) -> None:
        self._graph = scene.graph

    def __call__(self, candidate: Candidate) -> float:
        """Return the ratio, >= 1."""
        channels = ~self._graph.is_block
        ratios = self._graph.widths[channels] / candidate.plan.widths[channels]
        return float(ratios.max(initial=1.0))


class GradientNorm:
    """Sum over weights of the norm of the loss gradient, dense / pruned, on the first batch."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._inputs = scene.batches[0]
        self._targets = scene.targets[: batch_size(self._inputs)]

    def __call__(self, candidate: Candidate) -> float:
        """Return the ratio, > 0."""
        return _ratio(self._dense, self._value(candidate.plan))

    @cached_property
    def _dense(self) -> float:
        return self._value(Plan({}, self._scene.graph))

    def _value(self, plan: Plan) -> float:
        model = plan.apply(self._scene.model).requires_grad_(True)
        weights = _weights(model)
        with collecting_statistics(model), sound_gradients(model):
            outputs = main_output(call(model, self._inputs))
            loss = self._scene.task.loss(outputs, self._inputs, self._targets)
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        return sum(float(g.norm()) for g in gradients if g is not None)


class Synflow:
    """Synaptic flow (Tanaka et al., NeurIPS 2020), dense / pruned, the mean factor of a layer.

    The sum over parameters of `|weight x gradient|` where all weights are positive, biases and
    running means are 0, and the input is constant: the network is then linear.
    """

    def __init__(self, scene: Scene) -> None:
        self._model, self._graph = scene.model, scene.graph
        self._input = take(scene.batches[0], slice(1))
        self._layers = max(1, len(_weights(scene.model)))

    def __call__(self, candidate: Candidate) -> float:
        """Return the ratio, > 0."""
        ratio = _ratio(self._dense, self._value(candidate.plan))
        return float(ratio ** (1 / self._layers))

    @cached_property
    def _dense(self) -> float:
        return self._value(Plan({}, self._graph))

    def _value(self, plan: Plan) -> float:
        model = plan.apply(self._model).double().requires_grad_(True)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.abs_()
            for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                if name.endswith(("bias", "running_mean")):
                    tensor.zero_()
        weights = _weights(model)
        flow = main_output(call(model, cast(Inputs, tree_map(_constant, self._input)))).sum()
        gradients = torch.autograd.grad(flow, weights, allow_unused=True)
        pairs = zip(weights, gradients, strict=True)
        return sum(float((w.detach() * g).sum()) for w, g in pairs if g is not None)


def _weights(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.ndim > 1]


def _constant(tensor: Tensor) -> Tensor:
    whole = not tensor.is_floating_point()
    return tensor if whole else torch.full_like(tensor, _SYNFLOW_INPUT, dtype=torch.float64)


def _ratio(dense: float, pruned: float) -> float:
    return dense / pruned if pruned > 0 else float("inf")
