"""Several criteria in one: ranks, weights and presets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from rlprune.criteria.base import Probe, check_needs
from rlprune.criteria.composite import PRESETS, MultiMetric
from rlprune.criteria.norms import L2
from rlprune.criteria.registry import channel_scores, criterion_named, multi_metric
from rlprune.data import fashion_mnist
from rlprune.data.splits import DataSplits
from rlprune.errors import CriterionError, UnknownNameError
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel
from rlprune.surgery.plan import Plan
from tests import nets
from tests.criteria.probing import Chain, probe_of, seeded
from tests.criteria.test_taylor import reference

PARTS = ("taylor", "l2", "activation-mean")


@pytest.fixture(scope="module")
def probe(digits: DataSplits, loaded: Callable[[str], LoadedModel]) -> Probe:
    model = loaded("plain_cnn").module
    images, targets = digits.search.tensors(100)
    return Probe(model, trace(model, images[:2]), images, targets, Classification(), 10)


@pytest.mark.parametrize("name", PARTS)
def test_all_weight_on_one_part_reproduces_its_order(name: str, probe: Probe) -> None:
    alone = channel_scores(name, probe)
    fused = multi_metric({part: float(part == name) for part in PARTS}).channels(probe)
    for group, scores in alone.items():
        expected = (scores[:, None] - scores).sign()
        assert torch.equal((fused[group][:, None] - fused[group]).sign(), expected)


def test_all_weight_on_one_part_gives_its_plan_where_channels_are_tied() -> None:
    tied = probe_of(nets.build("ghost"))
    assert max(tied.graph.steps) > 1
    fused = multi_metric({"l1": 1.0, "l2": 0.0}).channels(tied)
    widths = tied.graph.widths // 2 // tied.graph.steps * tied.graph.steps
    expected = Plan.from_widths(tied.graph, widths, channel_scores("l1", tied))
    assert Plan.from_widths(tied.graph, widths, fused) == expected


def test_scores_are_weighted_sums_of_ranks(probe: Probe) -> None:
    weights = dict(zip(PARTS, (0.5, 0.3, 0.2), strict=True))
    fused = multi_metric(weights).channels(probe)
    for group, scores in fused.items():
        expected = sum(
            weight * rankdata(channel_scores(name, probe)[group], "max") / len(scores)
            for name, weight in weights.items()
        )
        np.testing.assert_allclose(scores, expected)


def test_only_ratios_of_weights_matter(probe: Probe) -> None:
    once, twice = (
        multi_metric({"l1": k, "activation-mean": 3 * k}).channels(probe) for k in (1, 2)
    )
    for group, scores in once.items():
        torch.testing.assert_close(scores, twice[group])


def test_needs_are_those_of_all_parts_with_weight() -> None:
    assert multi_metric({"l2": 1, "snip": 1, "screening": 1}).needs == {
        "samples",
        "labels",
        "gradients",
    }
    assert multi_metric({"l2": 1, "snip": 0}).needs == frozenset()


def test_a_part_that_needs_gradients_refuses_frozen_weights(probe: Probe) -> None:
    frozen = probe_of(seeded(Chain))
    frozen.model.requires_grad_(False)
    check_needs(multi_metric({"l2": 1, "taylor": 0}), frozen)
    with pytest.raises(CriterionError, match="'multi-metric' needs gradients"):
        check_needs(criterion_named("multi-metric"), frozen)


def test_presets_trust_gradients_early_and_magnitude_and_activation_late() -> None:
    for name, weights in PRESETS.items():
        assert sum(weights.values()) == pytest.approx(1)
        assert criterion_named(name).name == name
    early, late = PRESETS["multi-metric-early"], PRESETS["multi-metric-late"]
    assert early["snip"] > 0.5
    assert late["l2"] + late["activation-mean"] > 0.5


@pytest.mark.parametrize("weights", [(), (0.0,), (-1.0,), (2.0, -1.0), (float("nan"),)])
def test_weights_that_mean_nothing_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(CriterionError, match="needs weights >= 0 of which one is positive"):
        MultiMetric("mine", [(L2(), weight) for weight in weights])


def test_an_unknown_part_is_named_with_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'taylor'"):
        multi_metric({"tailor": 1.0})


@pytest.mark.slow
@pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(),
    reason="Fashion-MNIST is not installed: apt-get install dataset-fashion-mnist",
)
def test_fused_ranks_agree_with_ablation_better_than_their_parts_on_average() -> None:
    trained, ablation = reference()
    oracle = dict(
        zip(trained.graph.names, ablation.split(trained.graph.widths.tolist()), strict=True)
    )

    def agreement(name: str) -> float:
        scores = channel_scores(name, trained)
        return float(np.mean([spearmanr(scores[g], oracle[g]).statistic for g in oracle]))

    assert agreement("multi-metric") > np.mean([agreement(name) for name in PARTS])
