"""The learned corrections of search scores: fitted, and validated on networks held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from search_score_cells import data
from search_score_table import Case, Floats
from sklearn.linear_model import Ridge

from rlprune.evaluate.search_score.learned import BASES, log_features
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models import build_model

RECIPE = "accuracy"
SHRINKAGE = 1.0
"""Of powers, in plans: the weight of standardised features in a ridge regression."""

Powers = dict[str, float]


@cache
def graph_of(network: str) -> GroupGraph:
    """Return the groups of an untrained network; they are those of the trained one."""
    channels, size, _ = data().input_shape
    classes = data().num_classes
    model = build_model(network, in_channels=channels, num_classes=classes, image_size=size)
    images = data().search.tensors(2)[0]
    return trace(model.eval(), images)


def logs_of(case: Case, base: str) -> dict[str, Floats]:
    """Return every feature's logarithm for all plans of a case."""
    pairs = zip(case.widths, case.losses[base], strict=True)
    plans = [log_features(graph_of(case.network), widths, float(d)) for widths, d in pairs]
    return {name: np.array([plan[name] for plan in plans]) for name in plans[0]}


def fitted(cases: Sequence[Case], base: str) -> Powers:
    """Fit powers to the log of the error after fine-tuning, differences within cases only.

    Every case weighs the same, however far its errors are apart.
    """
    names = list(logs_of(cases[0], base))
    x, y = [], []
    for case in cases:
        logs = logs_of(case, base)
        errors = np.log(1 - case.accuracies[RECIPE].mean(1))
        x.append(_centred(np.stack([logs[name] for name in names], 1)) / errors.std())
        y.append(_centred(errors) / errors.std())
    features, aims = np.concatenate(x), np.concatenate(y)
    scale = np.maximum(features.std(0), 1e-9)
    model = Ridge(alpha=SHRINKAGE, fit_intercept=False).fit(features / scale, aims)
    return {name: float(p) for name, p in zip(names, model.coef_ / scale, strict=True)}


def losses(case: Case, base: str, powers: Mapping[str, float]) -> Floats:
    """Return the learned score of all plans of a case."""
    logs = logs_of(case, base)
    return np.asarray(np.exp(sum(power * logs[name] for name, power in powers.items())))


def add_held_out(cases: Sequence[Case]) -> dict[str, list[Powers]]:
    """Add every learned score to cases, each time fitted to the other networks only.

    Returns:
        `{score: powers of all fits, the one to all networks first}`; empty with one network.
    """
    networks = sorted({case.network for case in cases})
    if len(networks) < 2:
        return {}
    fits = {}
    for name, base in BASES.items():
        found = [fitted(cases, base)]
        for network in networks:
            found.append(fitted([case for case in cases if case.network != network], base))
            for case in cases:
                if case.network == network:
                    case.losses[name] = losses(case, base, found[-1])
                    case.costs[name] = case.costs[base]
        fits[name] = found
    return fits


def _centred(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(values - values.mean(0))
