"""What a pruned network must still reach: `worst_recall>=0.8`, `accuracy_drop<=0.01`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from rlprune.calling import to_device
from rlprune.data.splits import Split
from rlprune.errors import ConstraintError, SplitError
from rlprune.evaluate.batches import forward
from rlprune.evaluate.metrics import METRICS, Metric, metric_named
from rlprune.evaluate.tasks import Task

_DROP = "_drop"
_ROUNDING = 1e-6  # metrics are float32, and one drop of 0.01 is not another
_FORM = re.compile(r"\s*(?P<name>\w+)\s*(?P<sign>>=|<=)\s*(?P<bound>\S+)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound on one metric.

    Attributes:
        metric: what is measured.
        bound: least value, or largest drop.
        is_drop: whether `bound` is how much less than the dense network is allowed.
    """

    metric: Metric
    bound: float
    is_drop: bool = False

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read `METRIC>=VALUE`, or `METRIC_drop<=VALUE` against the dense network.

        Raises:
            ConstraintError: for anything else, naming what is allowed.
            UnknownNameError: for an unknown metric.
        """
        form = _FORM.fullmatch(text)
        if form is None:
            raise ConstraintError(
                f"constraint {text!r} is neither METRIC>=VALUE nor METRIC_drop<=VALUE; type for "
                f"example 'accuracy>=0.9' or 'accuracy_drop<=0.01' (metrics: {', '.join(METRICS)})"
            )
        name, sign = form["name"], form["sign"]
        is_drop = name.endswith(_DROP)
        metric = metric_named(name.removesuffix(_DROP))
        if is_drop != (sign == "<="):
            raise ConstraintError(
                f"constraint {text!r} bounds {name} from the wrong side: higher is better; type "
                f"'{metric.name}>=VALUE' or '{metric.name}{_DROP}<=VALUE'"
            )
        return cls(metric, _bound(form["bound"], text, metric, is_drop), is_drop)

    def __str__(self) -> str:
        return f"{self.metric.name}{_DROP if self.is_drop else ''}{self.sign}{self.bound:g}"

    @property
    def sign(self) -> str:
        """Which side the bound is on, in terms of what `__str__` names."""
        return "<=" if self.is_drop else ">="

    def least(self, dense: float) -> float:
        """Return the least value of the metric that is allowed, given the dense network's."""
        return dense - self.bound if self.is_drop else self.bound


@dataclass(frozen=True)
class Outcome:
    """One constraint and what a network reaches of it.

    Attributes:
        constraint: what was asked for.
        least: value of the metric that is allowed.
        dense: value of the dense network.
        reached: value of the pruned network.
    """

    constraint: Constraint
    least: float
    dense: float
    reached: float

    @property
    def is_met(self) -> bool:
        """Whether the pruned network reaches what was asked for."""
        return self.reached >= self.least - _ROUNDING


class Requirements:
    """Measures networks against constraints, on the validation split.

    Args:
        constraints: one or more.
        dense: the dense network, in eval mode.
        split: validation; a search may look at no other for this.
        task: what the network does.

    Raises:
        MetricError: if a metric does not fit the task.
        SplitError: if given another split.
        ConstraintError: if the dense network itself does not meet a constraint.
    """

    def __init__(
        self, constraints: Sequence[Constraint], dense: nn.Module, split: Split, task: Task
    ) -> None:
        if split.role != "validation":
            raise SplitError(f"constraints are checked on validation data, not on {split.role}")
        for constraint in constraints:
            metric_named(constraint.metric.name, task)
        self.constraints = tuple(constraints)
        device = next(dense.parameters()).device
        self._inputs, self._targets = to_device(split.tensors(), device)
        self._dense_outputs = forward(dense, self._inputs)
        self._dense = [
            c.metric.measure(self._dense_outputs, self._inputs, self._targets, self._dense_outputs)
            for c in constraints
        ]
        missed = [outcome for outcome in self.check(dense) if not outcome.is_met]
        if missed:
            raise ConstraintError(
                "the dense network itself does not meet "
                + "; ".join(f"{o.constraint}: it reaches {o.dense:.4f}" for o in missed)
                + " (validation split); ask for less"
            )

    def check(self, model: nn.Module) -> list[Outcome]:
        """Return what a network reaches of every constraint."""
        outputs = forward(model, self._inputs)
        return [
            Outcome(
                constraint,
                least=constraint.least(dense),
                dense=dense,
                reached=constraint.metric.measure(
                    outputs, self._inputs, self._targets, self._dense_outputs
                ),
            )
            for constraint, dense in zip(self.constraints, self._dense, strict=True)
        ]


def _bound(value: str, text: str, metric: Metric, is_drop: bool) -> float:
    try:
        bound = float(value)
    except ValueError:
        bound = math.nan
    highest = math.inf if metric.highest is None else metric.highest
    least = 0.0 if is_drop or metric.highest is not None else -math.inf
    if not (math.isfinite(bound) and least <= bound <= highest):
        allowed = "a number" if highest == math.inf else f"in [0, {highest:g}]"
        allowed = "a number from 0" if highest == math.inf and is_drop else allowed
        raise ConstraintError(f"constraint {text!r}: the value must be {allowed}, got {value!r}")
    return bound
