"""A learned correction: what divergence leaves out of accuracy after fine-tuning.

A linear model of logarithms, so that it holds for any network: fitted to logarithms of the error
after fine-tuning, each taken relative to the mean of the plans of one network at one budget.
`scripts/study_search_score.py` fits it, and validates it on networks that it was not fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rlprune.cost.analytic import Widths
from rlprune.evaluate.search_score.base import Candidate, Scene
from rlprune.graph.group_graph import GroupGraph

BASES = {"learned": "kl", "learned-repaired": "repaired", "learned-10": "distilled-10"}
"""`{learned score: the score whose repair and cost it shares}`."""

POWERS: dict[str, dict[str, float]] = {
    "learned": {"divergence": 0.0223, "params": 0.0458, "bottleneck": -0.0105, "depth": -0.0021},
    "learned-repaired": {
        "divergence": 0.0506,
        "params": 0.0277,
        "bottleneck": -0.0061,
        "depth": 0.0066,
    },
    "learned-10": {"divergence": 0.0619, "params": 0.0233, "bottleneck": -0.0034, "depth": 0.0119},
}
"""`{learned score: {feature: power}}`, from benchmarks/search_score.md."""

_LEAST = 1e-6  # nats; nearer to the dense network than that, plans are alike


class Learned:
    """Product of powers of the features.

    Args:
        scene: any.
        powers: `{feature: power}`.
    """

    def __init__(self, scene: Scene, powers: Mapping[str, float]) -> None:
        self._graph, self._powers = scene.graph, powers

    def __call__(self, candidate: Candidate) -> float:
        """Return the loss, > 0."""
        logs = log_features(self._graph, candidate.plan.widths, candidate.divergence)
        return math.exp(sum(power * logs[name] for name, power in self._powers.items()))


def log_features(graph: GroupGraph, widths: Widths, divergence: float) -> dict[str, float]:
    """Return what the model knows of a plan, each as a logarithm.

    Args:
        graph: the dense network's groups.
        widths: what the plan keeps.
        divergence: to the dense network, after the score's repair.

    Returns:
        `divergence`; `params`: kept fraction of the parameters over that of the MACs, few at equal
        MACs meaning wide early layers; `bottleneck`: kept fraction of the group that is cut most;
        `depth`: kept fraction of the blocks, counting one more that always stays.
    """
    channels, blocks = ~graph.is_block, graph.is_block.sum()
    macs, params = graph.macs_of(widths) / graph.macs(), graph.params_of(widths) / graph.params()
    ratios = widths[channels] / graph.widths[channels]
    return {
        "divergence": math.log(max(divergence, _LEAST)),
        "params": math.log(params / macs),
        "bottleneck": math.log(ratios.min(initial=1.0)),
        "depth": math.log((1 + widths[~channels].sum()) / (1 + blocks)),
    }
