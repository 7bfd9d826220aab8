"""Where channels are seen, and that what is seen is brought into one layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.criteria.activations import ActivationMean
from rlprune.criteria.base import Probe
from rlprune.criteria.reading import readings_of
from rlprune.criteria.watching import streamed, watching
from rlprune.errors import CriterionError
from rlprune.evaluate.tasks import Reconstruction
from rlprune.graph.trace import trace
from tests import nets
from tests.criteria.probing import QueriesAndKeys, probe_of, seeded
from tests.surgery.attention_nets import FEATURES, HEADS, TOKENS, WIDTH, Encoder, Standard


def seen_by(probe: Probe) -> set[tuple[str, bool, str]]:
    names = probe.graph.names
    found = readings_of(probe.model, probe.graph)
    return {(one.module, one.reads, names[one.group]) for one in found}


def test_channels_are_seen_where_layers_read_them() -> None:
    assert seen_by(probe_of(nets.build("concat"))) == {
        ("c", True, "a"),
        ("mix", True, "a"),
        ("mix", True, "b"),
        ("mix", True, "c"),
        ("head.classifier", True, "mix"),
    }


def test_channels_that_no_layer_reads_are_seen_where_they_are_written() -> None:
    seen = seen_by(probe_of(seeded(QueriesAndKeys)))
    assert {one for one in seen if not one[1]} == {
        ("query", False, "query"),
        ("key", False, "query"),
    }
    assert ("classifier", True, "value") in seen


def test_flattened_channels_are_averaged_over_all_their_columns() -> None:
    probe = probe_of(nets.build("flattened"))
    model = probe.model
    maps = F.max_pool2d(model.act(model.bn(model.conv(probe.inputs))), 2)
    expected = maps.detach().abs().mean((0, 2, 3))
    torch.testing.assert_close(ActivationMean().channels(probe)["conv"], expected)


def test_transposed_convolutions_read_along_their_first_dimension() -> None:
    probe = probe_of(nets.build("transposed"))
    expected = F.relu(probe.model.down(probe.inputs)).detach().mean((0, 2, 3))
    torch.testing.assert_close(ActivationMean().channels(probe)["down"], expected)


def test_a_layer_that_is_called_twice_is_seen_twice() -> None:
    probe = probe_of(nets.build("shared"))
    model = probe.model
    first = F.relu(model.stem(probe.inputs))
    second = F.relu(model.shared(first))
    third = F.relu(model.shared(second))
    means = [one.detach().mean((0, 2, 3)) for one in (first, second, third)]
    # equal shares for the two layers that read the group; the first reads twice
    expected = (torch.stack(means[:2]).mean(0) + means[2]) / 2
    torch.testing.assert_close(ActivationMean().channels(probe)["stem"], expected)


@pytest.mark.parametrize("batch_first", [True, False])
def test_heads_of_pytorchs_attention_are_seen_by_the_layer_that_it_does_not_call(
    batch_first: bool,
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Encoder(Standard(batch_first=batch_first)).eval()
    tokens = torch.randn(7, TOKENS, FEATURES, generator=torch.Generator().manual_seed(1))
    targets = torch.zeros(7, 3)
    probe = Probe(model, trace(model, tokens[:2]), tokens, targets, Reconstruction(), 1)
    (name,) = (group.name for group in probe.graph.groups if group.kind == "heads")
    before = model(tokens)
    scores = ActivationMean().channels(probe)[name]

    attention = model.mixer.attention
    queries, keys, values = (
        part.view(7, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)
        for part in F.linear(
            model.norm(model.embed(tokens)), attention.in_proj_weight, attention.in_proj_bias
        ).chunk(3, -1)
    )
    heads = F.scaled_dot_product_attention(queries, keys, values).detach()
    of_head = heads.double().abs().mean((0, 2, 3))
    atoms = torch.tensor(probe.graph.group(name).atoms)
    torch.testing.assert_close(scores, of_head[atoms], rtol=1e-5, atol=1e-7)
    assert type(attention) is nn.MultiheadAttention
    assert torch.equal(model(tokens), before)


class TokensFirst(nn.Module):
    """Linear layers over `(tokens, batch, channels)`, and over windows that are rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 6), nn.Linear(6, 5)
        self.last, self.classifier = nn.Linear(5, 4), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.squeeze(1).transpose(0, 1)))
        x = F.relu(self.second(x)).transpose(0, 1)
        x = F.relu(self.last(x.flatten(0, 1))).unflatten(0, (-1, 8))
        return self.classifier(x.mean(1))


def test_samples_are_told_from_tokens_and_from_windows() -> None:
    probe = probe_of(seeded(TokensFirst), 24)
    model, readings = probe.model, readings_of(probe.model, probe.graph)
    rows = {}

    def keep(values: Tensor, reading: object) -> Tensor:
        rows[reading.module] = reading.folded(values.mean(2))
        return rows[reading.module]

    streamed(probe, readings, keep, torch.zeros(24, dtype=torch.int64), 1)
    first = F.relu(model.first(probe.inputs.squeeze(1)))
    second = F.relu(model.second(first))
    torch.testing.assert_close(rows["second"], first.mean(1).detach())
    torch.testing.assert_close(rows["last"], second.mean(1).detach())


class Untouchable(nn.Module):
    """Channels that are written and read by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(12, 64))
        self.second = nn.Parameter(torch.randn(10, 12))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(x.flatten(1), self.first)), self.second)


def test_channels_between_functions_cannot_be_seen() -> None:
    with pytest.raises(CriterionError, match=r"no linear or convolutional layer.*such as l2"):
        ActivationMean().channels(probe_of(seeded(Untouchable)))


class Borrowed(nn.Module):
    """A layer whose weight the forward takes without calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 12), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(self.first(x.flatten(1))), self.second.weight)


def test_a_layer_that_is_not_called_is_named() -> None:
    with pytest.raises(CriterionError, match="'second' without calling the layer"):
        ActivationMean().channels(probe_of(seeded(Borrowed)))


def test_inputs_that_are_not_finite_are_refused_with_the_layer() -> None:
    probe = probe_of(nets.build("flattened"))
    broken = replace(probe, inputs=torch.full_like(probe.inputs, torch.nan))
    with pytest.raises(CriterionError, match="activations at layer 'hidden' are not finite"):
        ActivationMean().channels(broken)


def test_hooks_go_when_the_forward_fails() -> None:
    probe = probe_of(nets.build("flattened"))
    readings = readings_of(probe.model, probe.graph)
    with pytest.raises(RuntimeError), watching(probe.model, readings):
        probe.model(torch.zeros(1, 3, 8, 8).double())
    for module in probe.model.modules():
        assert len(module._forward_hooks) == len(module._forward_pre_hooks) == 0
    assert torch.backends.mha.get_fastpath_enabled()
