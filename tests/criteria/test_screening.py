"""Screening against SciPy's F, and against what it is meant to find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f_oneway, rankdata
from torch import Tensor, nn

from rlprune.criteria import watching
from rlprune.criteria.base import Probe
from rlprune.criteria.moments import Moments
from rlprune.criteria.registry import channel_scores
from rlprune.criteria.screening import Screening, ScreeningF, f_statistic, one_vs_rest
from rlprune.data.splits import DataSplits
from rlprune.errors import CriterionError
from rlprune.evaluate.tasks import Classification
from rlprune.graph.trace import trace
from rlprune.models.registry import load_model
from tests import nets
from tests.criteria.probing import Chain, probe_of, seeded


def moments_of(rows: Tensor, labels: Tensor, classes: int, batch: int = 7) -> Moments:
    moments = Moments.empty(classes, rows.shape[1])
    for some, theirs in zip(rows.split(batch), labels.split(batch), strict=True):
        moments.add(some, theirs)
    return moments


def by_class(rows: Tensor, labels: Tensor) -> list[np.ndarray]:
    return [rows[labels == k].numpy() for k in labels.unique()]


@given(st.integers(0, 1000), st.integers(2, 6), st.floats(-1e4, 1e4), st.integers(1, 50))
def test_f_is_scipys_for_any_sizes_of_classes(
    seed: int, classes: int, offset: float, batch: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(2, 30, (classes,), generator=generator)
    labels = torch.repeat_interleave(torch.arange(classes), sizes)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    rows = torch.randn(len(labels), 4, generator=generator, dtype=torch.float64)
    rows = rows + offset + labels[:, None] * torch.tensor([0.0, 0.1, 1.0, 10.0])
    # one more class than there are labels: a class may be missing from a probe
    ours = f_statistic(moments_of(rows, labels, classes + 1, batch))
    np.testing.assert_allclose(ours, f_oneway(*by_class(rows, labels)).statistic, rtol=1e-6)


@given(st.integers(0, 1000), st.integers(2, 5))
def test_one_vs_rest_is_the_largest_f_of_a_class_against_all_others(
    seed: int, classes: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(4)
    labels = torch.cat([labels, torch.zeros(9, dtype=torch.int64)])
    rows = torch.randn(len(labels), 3, generator=generator, dtype=torch.float64) + labels[:, None]
    theirs = [
        f_oneway(rows[labels == k].numpy(), rows[labels != k].numpy()).statistic
        for k in range(classes)
    ]
    ours = one_vs_rest(moments_of(rows, labels, classes))
    np.testing.assert_allclose(ours, np.max(theirs, axis=0), rtol=1e-6)


@pytest.mark.parametrize("statistic", [f_statistic, one_vs_rest])
def test_a_constant_feature_scores_zero_and_a_perfect_one_most(statistic: object) -> None:
    labels = torch.arange(3).repeat(5)
    noise = torch.randn(15, generator=torch.Generator().manual_seed(0)).double()
    rows = torch.stack([torch.full((15,), 0.1).double(), (labels == 1).double(), noise], 1)
    constant, perfect, random = statistic(moments_of(rows, labels, 3)).tolist()
    assert constant == 0
    assert perfect > 1e6 > random > 0
    assert np.isfinite(perfect)


def test_a_channel_for_one_rare_class_stands_out_against_the_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.arange(9).repeat(30), torch.full((6,), 9)])
    noise = torch.randn(len(labels), 2, generator=generator, dtype=torch.float64)
    rare, common = (labels == 9).double() * 3, labels.double() / 6
    rows = noise + torch.stack([rare, common], 1)
    moments = moments_of(rows, labels, 10)
    of_all, of_one = f_statistic(moments), one_vs_rest(moments)
    assert of_one[0] / of_one[1] > of_all[0] / of_all[1]


@pytest.fixture
def uneven(digits: DataSplits) -> Probe:
    """Trained `plain_cnn` on digits; class k has about 1 / (k + 1) of its samples."""
    model = load_model("plain_cnn", digits).module
    images, targets = digits.search.tensors()
    kept = torch.cat(
        [where[: max(2, len(where) // (k + 1))] for k, where in enumerate(_places(targets))]
    )
    kept = kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))]
    graph = trace(model, images[:2])
    return Probe(model, graph, images[kept], targets[kept], Classification(), 10)


def _places(targets: Tensor) -> list[Tensor]:
    return [(targets == k).nonzero().flatten() for k in range(10)]


def test_streamed_f_of_activations_is_scipys(
    uneven: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_BATCH", 16)
    assert len(uneven) > 3 * 16
    model, features = uneven.model, {}
    x = uneven.inputs
    with torch.no_grad():
        for index, layer in enumerate(model.features):
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                # what the next layer reads: after pooling where there is any
                following = model.features[index + 1 : index + 2]
                pools = len(following) and isinstance(following[0], nn.MaxPool2d)
                read = following[0](x) if pools else x
                features[f"features.{index - 2}"] = read.double().mean((2, 3))
    ours = ScreeningF().channels(uneven)
    assert set(ours) == set(features)
    for name, rows in features.items():
        theirs = f_oneway(*by_class(rows, uneven.targets)).statistic
        varying = rows.numpy().std(0) > 0
        assert varying.mean() > 0.9
        np.testing.assert_allclose(ours[name][varying], theirs[varying], rtol=1e-6)
        assert (ours[name][~varying] == 0).all()


def test_the_combined_score_is_a_weighted_sum_of_ranks(uneven: Probe) -> None:
    of_f, of_norm = (channel_scores(name, uneven) for name in ("screening-f", "l2"))
    for name, scores in Screening(share=0.3).channels(uneven).items():
        ranks = [rankdata(one[name], "max") / len(scores) for one in (of_f, of_norm)]
        np.testing.assert_allclose(scores, 0.3 * ranks[0] + 0.7 * ranks[1])


def test_the_whole_share_ranks_as_f_and_none_of_it_as_magnitude(uneven: Probe) -> None:
    for share, part in ((1.0, "screening-f"), (0.0, "l2")):
        expected = channel_scores(part, uneven)
        for name, scores in Screening(share=share).channels(uneven).items():
            assert torch.equal(scores.argsort(stable=True), expected[name].argsort(stable=True))


def test_scores_follow_the_labels(uneven: Probe) -> None:
    order = torch.randperm(len(uneven), generator=torch.Generator().manual_seed(0))
    wrong = replace(uneven, targets=uneven.targets[order])
    for name, scores in ScreeningF().channels(uneven).items():
        assert scores.median() > 3 * ScreeningF().channels(wrong)[name].median()


def test_weights_share_the_f_of_their_input_and_magnitude_tells_them_apart() -> None:
    probe = probe_of(nets.build("flattened"), 60)
    hidden = probe.model.classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    seen: list[Tensor] = []
    probe.model(probe.inputs)
    hidden.remove()
    of_f = f_oneway(*by_class(seen[0].detach(), probe.targets)).statistic
    of_f = np.nan_to_num(of_f)
    weight = probe.model.classifier.weight.detach()
    magnitude = rankdata(weight.abs(), "max").reshape(weight.shape) / weight.numel()
    expected = 0.5 * rankdata(of_f, "max") / len(of_f) + 0.5 * magnitude
    scores = Screening().weights(probe)
    np.testing.assert_allclose(scores["classifier.weight"], expected)
    assert set(scores) == {"conv.weight", "hidden.weight", "classifier.weight"}


@pytest.mark.parametrize("name", ["grouped", "transposed", "ghost", "series", "tied"])
def test_every_weight_gets_a_score_of_its_own_shape(name: str) -> None:
    probe = probe_of(nets.build(name), 60)
    probe = replace(probe, targets=torch.arange(60) % 10)
    weights = {key: one for key, one in probe.model.named_parameters() if one.ndim > 1}
    scores = Screening().weights(probe)
    assert {key: one.shape for key, one in scores.items()} == {
        key: one.shape for key, one in weights.items()
    }
    assert all(0 < one.min() and one.max() <= 1 for one in scores.values())


def test_filters_of_a_grouped_convolution_read_their_own_channels() -> None:
    probe = probe_of(nets.build("grouped"), 60)
    with torch.no_grad():
        probe.model.stem.weight[5] = probe.model.stem.bias[5] = 0  # a dead input, F = 0
        probe.model.grouped.weight.fill_(1)
    scores = Screening().weights(probe)["grouped.weight"][..., 0, 0]
    lowest = scores == scores.min()
    assert lowest.nonzero().tolist() == [[row, 5 - 4] for row in range(4, 8)]


def test_fewer_samples_than_classes_tell_nothing() -> None:
    probe = probe_of(seeded(Chain), 4)
    few = replace(probe, targets=torch.arange(4))
    with pytest.raises(CriterionError, match="'screening' needs more samples than classes"):
        Screening().channels(few)
