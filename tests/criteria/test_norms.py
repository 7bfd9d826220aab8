"""Group L2 norms against a sum over torch-pruning's own groups."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rlprune.criteria.base import Probe
from rlprune.criteria.norms import L1, L2, group_norms
from rlprune.criteria.registry import channel_scores
from rlprune.data.splits import DataSplits
from rlprune.evaluate.tasks import Classification
from rlprune.graph.group_graph import Group
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel
from rlprune.surgery.plan import Plan
from tests import nets
from tests.criteria.probing import Chain, probe_of, seeded
from tests.oracles import MIXERS, TRANSPOSED, dependency_graph


def norms_by_torch_pruning(dense: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """Sum w ** 2 over every layer of every group, channel by channel, keyed by each producer."""
    dense.requires_grad_(True)
    dependency = dependency_graph(dense, example)
    names = {module: name for name, module in dense.named_modules()}
    found: dict[str, Tensor] = {}
    for group in dependency.get_all_groups():
        squares = torch.zeros(len(group[0].idxs), dtype=torch.float64)
        producers = []
        for item in group:
            module = item.dep.target.module
            if not isinstance(module, nn.Module) or not list(module.parameters(recurse=False)):
                continue
            writes = dependency.is_out_channel_pruning_fn(item.dep.handler)
            depthwise = getattr(module, "groups", 1) > 1
            if writes and isinstance(module, MIXERS):
                producers.append(names[module])
            for name, parameter in module.named_parameters(recurse=False):
                if not writes and (name == "bias" or depthwise):
                    continue
                first = not isinstance(module, TRANSPOSED) or depthwise
                dim = 0 if parameter.ndim == 1 or writes == first else 1
                rows = parameter.detach().double().movedim(dim, 0)
                for position, root in zip(item.idxs, item.root_idxs, strict=True):
                    squares[root] += rows[position].square().sum()
        found.update(dict.fromkeys(producers, squares.sqrt()))
    return found


def per_atom(norms: Tensor, group: Group) -> Tensor:
    """Return the norm of every atom; torch-pruning may have rooted the group in another layer."""
    atoms = torch.from_numpy(group.atom_of)
    if len(norms) != group.width:
        return norms
    squares = torch.zeros(group.width // group.step, dtype=torch.float64)
    return squares.index_add(0, atoms, norms.square()).sqrt()


@pytest.mark.parametrize(
    "name", ["ghost", "wide_ghost", "flattened", "transposed", "concat", "gated", "series"]
)
def test_norms_are_those_of_torch_prunings_groups(name: str) -> None:
    network = nets.build(name)
    graph = trace(network, nets.images(2))
    expected = norms_by_torch_pruning(nets.build(name), nets.images(2))
    for group_name, norms in group_norms(network, graph).items():
        ours, theirs = per_atom(norms, graph.group(group_name)), expected[group_name]
        if len(theirs) > len(ours):
            theirs = theirs.square().view(-1, len(ours)).sum(0).sqrt()  # Ghost: i and i + half
        torch.testing.assert_close(ours, per_atom(theirs, graph.group(group_name)))


@pytest.mark.parametrize("name", ["resnet20", "densenet"])
def test_norms_of_built_in_networks_are_those_of_torch_prunings_groups(
    name: str, digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    dense, example = loaded(name).module, digits.search.tensors(2)[0]
    graph = trace(dense, example)
    expected = norms_by_torch_pruning(copy.deepcopy(dense), example)
    for group in graph.groups:
        if group.kind != "block":
            norms = torch.tensor(group.scores, dtype=torch.float64)
            torch.testing.assert_close(norms, expected[group.name])


def test_a_channel_without_weights_goes_first() -> None:
    network = nets.build("flattened")
    with torch.no_grad():
        for parameter in (network.conv.weight, network.conv.bias, network.bn.weight):
            parameter[7] = 0
        network.bn.bias[7] = network.act.weight[7] = 0
        network.hidden.weight[:, 7 * 16 : 8 * 16] = 0
    graph = trace(network, nets.images(2))
    assert graph.group("conv").scores[7] == 0
    widths = graph.widths.copy()
    widths[0] -= 1
    assert set(range(10)) - set(Plan.from_widths(graph, widths).kept["conv"]) == {7}


def test_a_louder_channel_scores_higher() -> None:
    quiet, loud = nets.build("concat"), nets.build("concat")
    with torch.no_grad():
        loud.mix.weight[3] *= 3
    before = trace(quiet, nets.images(2)).group("mix").scores
    after = trace(loud, nets.images(2)).group("mix").scores
    assert after[3] > before[3]
    assert after[:3] + after[4:] == before[:3] + before[4:]


def test_norms_are_sums_over_all_layers_of_a_residual_group(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    model = loaded("resnet20").module
    images, targets = digits.search.tensors(2)
    graph = trace(model, images)
    probe = Probe(model, graph, images, targets, Classification(), 10)
    parameters = {name: one.detach().double() for name, one in model.named_parameters()}
    first = graph.groups[0]
    along_output = [name for name in first.members if not name.endswith(" (in)")]
    along_input = [name.removesuffix(" (in)") for name in first.members if name.endswith(" (in)")]
    assert min(len(along_output), len(along_input)) > 3
    rows = [
        tensor.movedim(dim, 0).flatten(1) if tensor.ndim > 1 else tensor[:, None]
        for layers, dim in ((along_output, 0), (along_input, 1))
        for layer in layers
        for tensor in (parameters.get(f"{layer}.{kind}") for kind in ("weight", "bias"))
        if tensor is not None and tensor.ndim > dim
    ]
    everything = torch.cat(rows, 1)
    torch.testing.assert_close(L1().channels(probe)[first.name], everything.abs().sum(1))
    torch.testing.assert_close(L2().channels(probe)[first.name], everything.norm(dim=1))


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_norms_change_when_a_layer_is_scaled_against_its_consumer_but_taylor_does_not(
    name: str,
) -> None:
    """One function, another score: global pruning by norms depends on how a network is written."""
    probe = probe_of(seeded(Chain))
    before, taylor = channel_scores(name, probe), channel_scores("taylor", probe)
    output = probe.model(probe.inputs)
    with torch.no_grad():
        probe.model.first.weight.mul_(10)
        probe.model.first.bias.mul_(10)
        probe.model.second.weight.div_(10)
    torch.testing.assert_close(probe.model(probe.inputs), output)
    after = channel_scores(name, probe)
    assert (before["first"].mean() < before["second"].mean()) != (
        after["first"].mean() < after["second"].mean()
    )
    for group, scores in channel_scores("taylor", probe).items():
        torch.testing.assert_close(scores, taylor[group])


def test_single_weights_score_their_magnitude() -> None:
    probe = probe_of(seeded(Chain))
    for criterion in (L1(), L2()):
        scores = criterion.weights(probe)
        assert set(scores) == {"first.weight", "second.weight", "classifier.weight"}
        torch.testing.assert_close(
            scores["second.weight"], probe.model.second.weight.detach().abs()
        )
