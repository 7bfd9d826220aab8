"""What the agent sees of a network as a whole: the budget, the data, how the training went."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from rlprune.cost.budget import QUANTITIES
from rlprune.dynamics.record import Dynamics
from rlprune.envs.observation.feature import Feature, flag, log4, nats, share
from rlprune.problem import Problem

_PLATEAU = 1000  # steps

NETWORK: tuple[Feature, ...] = (
    *(
        Feature(
            f"{quantity}_budget", f"-log of the kept {quantity} allowed; 0 = no limit", "nats", 0, 5
        )
        for quantity in QUANTITIES
    ),
    share("uniform_kept", "channels that the same fraction everywhere keeps under the budget"),
    nats("heuristic_score", "the heuristic's score over the mean sensitivity"),
    nats("interaction", "the heuristic's loss over the sum of the estimated losses of its cuts"),
    log4("groups", "groups / 16"),
    flag("watched", "1 if the training of the network is known"),
    Feature("loss_slope", "relative change of the loss over the last quarter", "ratio", -2, 2),
    Feature(
        "since_plateau", "steps since the loss was last 1 % lower than before", "1000 steps", 0, 5
    ),
    Feature("validation_gap", "validation loss less the training's last", "loss", -5, 5),
    Feature("classes", "log of the classes", "log10", 0, 5),
    Feature("samples_per_class", "training samples per class / 1000", "log10", -5, 5),
    Feature("input_size", "numbers in one input / 1000", "log10", -5, 5),
    share("label_entropy", "of the greatest entropy of labels"),
    share("dense_error", "wrong predictions of the dense network, or squared error / peak^2"),
    Feature("mean_margin", "probability of the right class less the next best", "share", -1, 1),
)


def network(problem: Problem) -> list[float]:
    """Return the values of `NETWORK`."""
    graph, mean = problem.graph, problem.sensitivity.mean
    heuristic = problem.reference
    score = heuristic.measurement.score + problem.sensitivity.negligible
    uniform = problem.budget.decode(problem.costs, np.ones(len(graph.groups))) / graph.widths
    return [
        *(-math.log(problem.budget.limit(quantity)) for quantity in QUANTITIES),
        float(uniform[~graph.is_block].mean()),
        math.log(score / mean),
        math.log(score / problem.estimated_losses(heuristic.plan.widths)),
        math.log2(len(graph.groups) / 16) / 2,
        *_training(problem.dynamics),
        *_data(problem.dynamics),
    ]


def _training(record: Dynamics | None) -> tuple[float, ...]:
    trajectory = None if record is None else record.trajectory
    if trajectory is None:
        return (0.0,) * 4
    known = dict(trajectory.values())
    return (
        1.0,
        known.get("loss_slope", 0.0),
        known["steps_since_plateau"] / _PLATEAU,
        known.get("validation_gap", 0.0),
    )


def _data(record: Dynamics | None) -> tuple[float, ...]:
    traits = None if record is None else record.data
    if traits is None:
        return (0.0,) * 6
    known: Mapping[str, float] = dict(traits.values())
    return (
        known["log_classes"] / math.log(10),
        known["log_samples_per_class"] / math.log(10) - 3,
        known["log_input_size"] / math.log(10) - 3,
        known["label_entropy"],
        known["dense_error"],
        known.get("mean_margin", 0.0),
    )
