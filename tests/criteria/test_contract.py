"""What every criterion promises, on networks of every kind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rlprune.criteria.base import Probe, WeightCriterion
from rlprune.criteria.normalise import NORMALISERS
from rlprune.criteria.registry import (
    CRITERIA,
    channel_scores,
    criterion_named,
    weight_scores,
)
from rlprune.data.splits import DataSplits
from rlprune.errors import CriterionError, UnknownNameError
from rlprune.evaluate.tasks import Classification, Reconstruction
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel
from rlprune.surgery.plan import Plan
from tests.criteria.probing import Chain, probe_of, seeded
from tests.transformer import transformer

NETWORKS = ("mlp", "plain_cnn", "mobilenetv2", "resnet20", "densenet", "autoencoder", "transformer")
BLIND = ("random",)
"""Criteria that look at nothing."""

SAMPLED = [name for name in CRITERIA if criterion_named(name).needs]
LABELLED = [name for name in CRITERIA if "labels" in criterion_named(name).needs]
DIFFERENTIATED = [name for name in CRITERIA if "gradients" in criterion_named(name).needs]
OF_WEIGHTS = [name for name in CRITERIA if isinstance(criterion_named(name), WeightCriterion)]

GetProbe = Callable[[str], Probe]


@pytest.fixture(scope="module")
def get_probe(digits: DataSplits, loaded: Callable[[str], LoadedModel]) -> GetProbe:
    """Probes of 40 samples; their networks carry gradients, as after a step of training."""

    @cache
    def get(name: str) -> Probe:
        model = transformer() if name == "transformer" else copy.deepcopy(loaded(name).module)
        images, targets = digits.search.tensors(40)
        for index, parameter in enumerate(model.parameters()):
            parameter.grad = torch.full_like(parameter, float(index))
        task = Reconstruction() if name == "autoencoder" else Classification()
        return Probe(model, trace(model, images[:2]), images, targets, task, 10)

    return get


def scored(name: str, probe: Probe, normaliser: str = "none") -> dict[str, Tensor]:
    """Scores, or a skip where the criterion refuses a network that has nothing to look at."""
    modules = probe.model.modules()
    if name == "batchnorm" and not any(isinstance(one, _BatchNorm) for one in modules):
        with pytest.raises(CriterionError, match="needs BatchNorm"):
            channel_scores(name, probe)
        pytest.skip("no BatchNorm")
    return channel_scores(name, probe, normaliser)


def scorers(name: str) -> list[Callable[[str, Probe], dict[str, Tensor]]]:
    """All ways to score by a criterion."""
    return [channel_scores, weight_scores] if name in OF_WEIGHTS else [channel_scores]


def state_of(model: nn.Module) -> dict[str, object]:
    """All that a criterion could change, so that two of them compare with `==`."""
    modules = dict(model.named_modules())
    tensors = {**model.state_dict(), **dict(model.named_buffers())}
    return {
        "tensors": {name: one.numpy().tobytes() for name, one in tensors.items()},
        "grads": {
            name: None if one.grad is None else one.grad.numpy().tobytes()
            for name, one in model.named_parameters()
        },
        "identities": [id(one) for one in model.parameters()],
        "requires_grad": [one.requires_grad for one in model.parameters()],
        "modes": {name: one.training for name, one in modules.items()},
        "types": {name: type(one) for name, one in modules.items()},
        "hooks": sum(
            len(one._forward_hooks)
            + len(one._forward_pre_hooks)
            + len(one._backward_hooks)
            + len(one._backward_pre_hooks)
            for one in modules.values()
        ),
    }


@contextmanager
def nothing_changes(model: nn.Module) -> Iterator[None]:
    before, drawn = state_of(model), torch.get_rng_state()
    settings = torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled()
    yield
    after = state_of(model)
    for what, value in before.items():
        assert after[what] == value, f"{what} changed"
    assert after["hooks"] == 0
    assert torch.equal(torch.get_rng_state(), drawn)
    assert (torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled()) == settings


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", CRITERIA)
def test_every_channel_has_a_score_and_the_network_stays_as_it_is(
    name: str, network: str, get_probe: GetProbe
) -> None:
    probe = get_probe(network)
    with nothing_changes(probe.model):
        scores = scored(name, probe)
    assert list(scores) == list(probe.graph.names)
    for group in probe.graph.groups:
        values = scores[group.name]
        assert (values.shape, values.dtype) == ((group.width,), torch.float64)
        assert values.device.type == "cpu"
        assert not values.requires_grad
        assert values.isfinite().all()
        assert (values >= 0).all()
        if group.kind == "block":
            assert values.tolist() == [0]
        else:
            assert values.max() > 0
    Plan.uniform(probe.graph.ranked_by(scores), 0.5)


@pytest.mark.parametrize("name", CRITERIA)
def test_the_same_seed_gives_the_same_scores(name: str, get_probe: GetProbe) -> None:
    probe = get_probe("resnet20")
    first, second = scored(name, probe), scored(name, probe)
    assert all(torch.equal(one, second[group]) for group, one in first.items())


@pytest.mark.parametrize("name", [name for name in CRITERIA if name not in BLIND])
def test_scores_tell_channels_apart_and_not_by_chance(name: str, get_probe: GetProbe) -> None:
    probe = get_probe("plain_cnn")
    scores = scored(name, probe)
    assert all(len(values.unique()) > 3 for values in scores.values())
    if not criterion_named(name).needs:
        return
    other = scored(
        name, replace(probe, inputs=probe.inputs.flip(0)[:20], targets=probe.targets.flip(0)[:20])
    )
    assert any(not torch.equal(values, other[group]) for group, values in scores.items())


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("name", CRITERIA)
def test_normalised_scores_rank_a_group_alike(
    name: str, normaliser: str, get_probe: GetProbe
) -> None:
    probe = get_probe("plain_cnn")
    raw, normalised = scored(name, probe), scored(name, probe, normaliser)
    for group, values in raw.items():
        order = values.argsort()
        assert normalised[group].isfinite().all()
        assert (normalised[group][order].diff() >= -1e-15).all()


@pytest.mark.parametrize("network", ["mlp", "mobilenetv2", "transformer"])
@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_every_weight_has_a_score(name: str, network: str, get_probe: GetProbe) -> None:
    probe = get_probe(network)
    with nothing_changes(probe.model):
        scores = weight_scores(name, probe)
    weights = {key: one for key, one in probe.model.named_parameters() if one.ndim > 1}
    assert set(scores) == set(weights)
    for key, values in scores.items():
        assert (values.shape, values.dtype) == (weights[key].shape, torch.float64)
        assert values.isfinite().all()
        assert (values >= 0).all()


@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_is_called_what_the_registry_calls_it(name: str) -> None:
    assert criterion_named(name).name == name


def test_an_unknown_name_is_refused_with_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'taylor'"):
        criterion_named("tylor")
    with pytest.raises(UnknownNameError, match=r"normaliser 'men'; did you mean 'mean'"):
        channel_scores("l2", probe_of(seeded(Chain)), "men")
    with pytest.raises(UnknownNameError, match="did you mean 'snip'"):
        weight_scores("snp", probe_of(seeded(Chain)))


@pytest.mark.parametrize("name", [name for name in CRITERIA if name not in OF_WEIGHTS])
def test_a_criterion_of_channels_alone_scores_no_weights(name: str) -> None:
    with pytest.raises(CriterionError, match=f"'{name}' scores channels.*take one of .*l2.*snip"):
        weight_scores(name, probe_of(seeded(Chain)))


@pytest.mark.parametrize("name", SAMPLED)
def test_an_empty_probe_is_refused(name: str) -> None:
    probe = probe_of(seeded(Chain))
    empty = replace(probe, inputs=probe.inputs[:0], targets=probe.targets[:0])
    for score in scorers(name):
        with pytest.raises(CriterionError, match=f"'{name}' needs samples.* probe set is empty"):
            score(name, empty)


@pytest.mark.parametrize("name", LABELLED)
def test_labels_that_are_missing_or_all_alike_are_refused(name: str) -> None:
    probe = probe_of(seeded(Chain))
    unlabelled = replace(probe, targets=torch.rand(len(probe), 10), task=Reconstruction())
    alike = replace(probe, targets=torch.full_like(probe.targets, 3))
    for score in scorers(name):
        with pytest.raises(CriterionError, match=f"'{name}' needs classes as labels"):
            score(name, unlabelled)
        with pytest.raises(CriterionError, match=f"'{name}' compares classes.*only one"):
            score(name, alike)


@pytest.mark.parametrize(
    "name", [name for name in CRITERIA if name not in (*LABELLED, "batchnorm")]
)
def test_other_criteria_need_no_labels(name: str) -> None:
    probe = probe_of(seeded(Chain))
    aims = torch.rand(len(probe), 10, dtype=torch.float64)
    scores = channel_scores(
        name, replace(probe, targets=aims, task=Reconstruction(), num_classes=1)
    )
    assert all(values.max() > 0 for values in scores.values())


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_frozen_weights_are_refused_where_gradients_are_needed(name: str) -> None:
    probe = probe_of(seeded(Chain))
    probe.model.second.weight.requires_grad_(False)
    for score in scorers(name):
        with pytest.raises(CriterionError, match=f"'{name}' needs gradients.*'second.weight'"):
            score(name, probe)


@pytest.mark.parametrize("name", [name for name in CRITERIA if name not in DIFFERENTIATED])
def test_frozen_weights_are_fine_elsewhere(name: str, get_probe: GetProbe) -> None:
    probe = get_probe("plain_cnn")
    frozen = replace(probe, model=copy.deepcopy(probe.model).requires_grad_(False))
    expected = channel_scores(name, probe)
    for group, values in channel_scores(name, frozen).items():
        assert torch.equal(values, expected[group])


@pytest.mark.parametrize("name", [name for name in CRITERIA if name not in BLIND])
def test_weights_that_are_not_numbers_are_refused(name: str, get_probe: GetProbe) -> None:
    probe = get_probe("plain_cnn")
    broken = replace(probe, model=copy.deepcopy(probe.model))
    with torch.no_grad():
        for parameter in broken.model.parameters():
            parameter.fill_(torch.nan)
    with nothing_changes(broken.model), pytest.raises(CriterionError, match="not finite"):
        channel_scores(name, broken)


@pytest.mark.parametrize("name", [name for name in OF_WEIGHTS if name not in BLIND])
def test_a_single_weight_that_is_not_a_number_is_refused(name: str, get_probe: GetProbe) -> None:
    probe = get_probe("plain_cnn")
    broken = replace(probe, model=copy.deepcopy(probe.model))
    with torch.no_grad():
        broken.model.get_parameter("classifier.weight")[3, 5] = torch.nan
    with pytest.raises(CriterionError, match=f"'{name}'.*not finite"):
        weight_scores(name, broken)
