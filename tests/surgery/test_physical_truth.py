"""What rlprune says about a pruned network is what the pruned network is."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rlprune.data.splits import DataSplits
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import BUILTIN_NAMES, LoadedModel
from rlprune.surgery.plan import Plan
from rlprune.surgery.storage import save_pruned
from tests import nets
from tests.oracles import (
    assert_same_tensors,
    channels_only,
    counted_macs,
    counted_params,
    masked,
    outputs,
    pruned_by_torch_pruning,
    random_plan,
)

NAMES = (*BUILTIN_NAMES, *nets.PRUNABLE)
PLANS = ("uniform", "random-1", "random-2")
ONLY_OURS = ("grouped", "normalised", "tied")
"""torch-pruning keeps the number of groups, so other channels are grouped; it unties weights."""


@dataclass(frozen=True)
class Subject:
    dense: nn.Module
    graph: GroupGraph
    images: Tensor
    recipe: Mapping[str, str | int] | None

    def plan(self, kind: str) -> Plan:
        if kind == "uniform":
            return Plan.uniform(self.graph, 0.5)
        return random_plan(self.graph, int(kind.removeprefix("random-")))


GetSubject = Callable[[str], Subject]


@pytest.fixture(scope="module")
def subject_of(digits: DataSplits, loaded: Callable[[str], LoadedModel]) -> GetSubject:
    made: dict[str, Subject] = {}

    def get(name: str) -> Subject:
        if name not in made:
            if name in BUILTIN_NAMES:
                dense, images = loaded(name).module, digits.search.tensors(8)[0]
                recipe = loaded(name).recipe
            else:
                dense, images, recipe = nets.build(name), nets.images(8), None
            made[name] = Subject(dense, trace(dense, images[:2]), images, recipe)
        return made[name]

    return get


@pytest.fixture(params=NAMES)
def subject(request: pytest.FixtureRequest, subject_of: GetSubject) -> Subject:
    return subject_of(request.param)


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest, subject: Subject) -> Plan:
    return subject.plan(request.param)


def test_analytic_costs_are_the_counted_costs(subject: Subject, plan: Plan) -> None:
    small, shape = plan.apply(subject.dense), subject.images.shape[1:]
    assert subject.graph.params(plan) == counted_params(small)
    assert subject.graph.macs(plan) == counted_macs(small, shape)
    assert subject.graph.params() == counted_params(subject.dense)
    assert subject.graph.macs() == counted_macs(subject.dense, shape)


def test_pruning_really_shrinks_the_tensors(subject: Subject, plan: Plan) -> None:
    assert (plan.widths < subject.graph.widths).any()
    small = plan.apply(subject.dense)
    assert counted_params(small) < counted_params(subject.dense)
    gone = subject.graph.bypassed(plan.kept)
    for name in gone:
        assert isinstance(small.get_submodule(name), nn.Identity)
    for group in subject.graph.groups:
        if group.kind == "block" or group.name.startswith(tuple(f"{name}." for name in gone)):
            continue
        module, dense = small.get_submodule(group.name), subject.dense.get_submodule(group.name)
        dim = 1 if isinstance(module, nn.ConvTranspose2d) else 0
        # A layer may hold several channels of each root channel, or one of several (Ghost).
        share = len(plan.kept[group.name]) / group.width
        assert module.weight.shape[dim] == share * dense.weight.shape[dim]


def test_layers_report_the_sizes_of_their_tensors(subject: Subject, plan: Plan) -> None:
    dense = dict(subject.dense.named_modules())
    for name, module in plan.apply(subject.dense).named_modules():
        if isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        if isinstance(module, nn.Conv2d):
            inputs = module.in_channels // module.groups
            assert module.weight.shape[:2] == (module.out_channels, inputs)
            was = dense[name]
            if was.groups == 1:
                assert module.groups == 1
            else:  # whole groups go
                assert module.in_channels // module.groups == was.in_channels // was.groups
                assert module.out_channels // module.groups == was.out_channels // was.groups
        if isinstance(module, nn.GroupNorm):
            was = dense[name]
            assert module.weight.shape == (module.num_channels,)
            per_group = was.num_channels // was.num_groups
            assert module.num_channels // module.num_groups == per_group
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean.shape == module.weight.shape == (module.num_features,)


def test_pruned_output_is_that_of_the_dense_network_blind_to_the_removed_channels(
    subject: Subject, plan: Plan
) -> None:
    small = outputs(plan.apply(subject.dense), subject.images)
    blind = outputs(masked(subject.dense, plan), subject.images)
    torch.testing.assert_close(small, blind, atol=1e-5, rtol=1e-5)
    assert not torch.equal(small, outputs(subject.dense, subject.images))


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ONLY_OURS])
def test_replay_removes_what_torch_pruning_removes(
    name: str, kind: str, subject_of: GetSubject
) -> None:
    subject = subject_of(name)
    plan = channels_only(subject.plan(kind))
    ours = plan.apply(subject.dense)
    theirs = pruned_by_torch_pruning(subject.dense, subject.images[:2], plan)
    assert_same_tensors(ours, theirs)
    torch.testing.assert_close(
        outputs(ours, subject.images), outputs(theirs, subject.images), atol=1e-6, rtol=1e-6
    )


def test_keeping_everything_changes_no_bit(subject: Subject) -> None:
    whole = Plan({}, subject.graph)
    assert_same_tensors(whole.apply(subject.dense), subject.dense)
    assert subject.graph.macs(whole) == subject.graph.macs()


def test_the_original_stays_untouched_even_when_the_small_model_is_trained(
    subject: Subject, plan: Plan
) -> None:
    before = copy.deepcopy(subject.dense)
    small = plan.apply(subject.dense).train()
    optimiser = torch.optim.SGD(small.parameters(), lr=0.1)
    small(subject.images).square().mean().backward()
    optimiser.step()
    assert_same_tensors(subject.dense, before)
    assert not subject.dense.training
    assert all(parameter.grad is None for parameter in subject.dense.parameters())
    shared = {t.data_ptr() for t in subject.dense.state_dict().values()}
    assert shared.isdisjoint(t.data_ptr() for t in small.state_dict().values())


# A saved model is loaded where torch-pruning and its trace are out of reach.

LOAD = """
import json, sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from rlprune.surgery.storage import load_plan, load_pruned
from tests import nets
root = Path(sys.argv[1])
results = {}
torch.set_num_threads(1)
for folder in sorted(p for p in root.iterdir() if p.is_dir()):
    name = folder.name
    factory = nets.PRUNABLE.get(name)
    model = load_pruned(folder, factory)
    assert not model.training
    with torch.no_grad():
        results[name] = model(load_file(root / f"{name}.images")["images"])
    plan = load_plan(folder)
    results[f"{name}.macs"] = torch.tensor(plan.graph.macs(plan))
    results[f"{name}.params"] = torch.tensor(sum(p.numel() for p in model.parameters()))
save_file(results, root / "results")
print("torch_pruning" in sys.modules)
"""


@pytest.fixture(scope="module")
def reloaded(
    subject_of: GetSubject,
    tmp_path_factory: pytest.TempPathFactory,
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> tuple[Path, dict[str, Tensor]]:
    root = tmp_path_factory.mktemp("saved")
    for name in NAMES:
        subject = subject_of(name)
        plan = subject.plan("random-1")
        save_pruned(root / name, plan, plan.apply(subject.dense), subject.recipe)
        save_file({"images": subject.images}, root / f"{name}.images")
    done = run_python(LOAD, root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False", "loading imported torch_pruning"
    return root, load_file(root / "results")


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_gives_the_same_bits_in_a_new_process_without_torch_pruning(
    name: str, subject_of: GetSubject, reloaded: tuple[Path, dict[str, Tensor]]
) -> None:
    subject, (_, results) = subject_of(name), reloaded
    plan = subject.plan("random-1")
    small = plan.apply(subject.dense)
    assert torch.equal(results[name], outputs(small, subject.images))
    assert int(results[f"{name}.macs"]) == subject.graph.macs(plan)
    assert int(results[f"{name}.params"]) == counted_params(small)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_folder_holds_json_and_safetensors_only(
    name: str, reloaded: tuple[Path, dict[str, Tensor]]
) -> None:
    folder = reloaded[0] / name
    assert sorted(p.name for p in folder.iterdir()) == ["model.safetensors", "plan.json"]
    assert json.loads((folder / "plan.json").read_text())["version"] == 2
    tensors = (folder / "model.safetensors").read_bytes()
    header = json.loads(tensors[8 : 8 + int.from_bytes(tensors[:8], "little")])
    assert all({"dtype", "shape"} <= set(entry) for entry in header.values())
