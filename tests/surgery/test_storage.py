"""Saved models: whole or absent, refused when damaged, and never pickled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from rlprune.data.splits import DataSplits
from rlprune.errors import PlanError, RLPruneError, RunError
from rlprune.graph.trace import trace
from rlprune.surgery import storage
from rlprune.surgery.plan import Plan
from rlprune.surgery.storage import load_plan, load_pruned, save_pruned
from tests import nets
from tests.oracles import assert_same_tensors, outputs


@pytest.fixture
def network() -> nn.Module:
    return nets.build("concat")


@pytest.fixture
def plan(network: nn.Module) -> Plan:
    return Plan.uniform(trace(network, nets.images(2)), 0.5)


@pytest.fixture
def saved(tmp_path: Path, network: nn.Module, plan: Plan) -> Path:
    plan.save(tmp_path / "model", plan.apply(network))
    return tmp_path / "model"


def test_plan_and_model_come_back_as_they_were(saved: Path, plan: Plan, network: nn.Module) -> None:
    assert load_plan(saved) == plan
    assert load_plan(saved).graph == plan.graph
    again = load_pruned(saved, nets.Concat)
    assert_same_tensors(again, plan.apply(network))
    assert torch.equal(outputs(again, nets.images()), outputs(plan.apply(network), nets.images()))
    assert_same_tensors(load_plan(saved).apply(network), again)


def test_tied_weights_are_tied_again_when_loaded(tmp_path: Path) -> None:
    network = nets.build("tied")
    plan = Plan.uniform(trace(network, nets.images(2)), 0.5)
    small = plan.apply(network)
    assert small.one.weight is small.two.weight
    plan.save(tmp_path / "model", small)
    again = load_pruned(tmp_path / "model", nets.Tied)
    assert again.one.weight is again.two.weight
    assert_same_tensors(again, small)


def test_a_model_card_is_written_next_to_the_model(
    tmp_path: Path, plan: Plan, network: nn.Module
) -> None:
    save_pruned(tmp_path / "m", plan, plan.apply(network), card="# small\n")
    assert (tmp_path / "m" / "README.md").read_text() == "# small\n"


def test_saving_again_replaces_the_folder_as_a_whole(
    saved: Path, plan: Plan, network: nn.Module
) -> None:
    (saved / "stale").write_text("old")
    plan.save(saved, plan.apply(network))
    assert sorted(p.name for p in saved.iterdir()) == ["model.safetensors", "plan.json"]
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_a_failure_while_saving_leaves_nothing_behind(
    tmp_path: Path, plan: Plan, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(storage, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        plan.save(tmp_path / "model", plan.apply(network))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_saving_keeps_what_was_there(
    saved: Path, plan: Plan, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in saved.iterdir()}

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(storage, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        plan.save(saved, plan.apply(network))
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_a_file_in_the_way_is_not_overwritten(
    tmp_path: Path, plan: Plan, network: nn.Module
) -> None:
    (tmp_path / "model").write_text("mine")
    with pytest.raises(RunError, match="is a file; give a folder"):
        plan.save(tmp_path / "model", plan.apply(network))
    assert (tmp_path / "model").read_text() == "mine"


@pytest.mark.parametrize("name", ["plan.json", "model.safetensors"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(PlanError, match=rf"{name} is missing"):
        load_pruned(saved, nets.Concat)


@pytest.mark.parametrize("name", ["plan.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"version": 1}'])
def test_a_damaged_file_is_named_in_one_line(saved: Path, name: str, content: bytes) -> None:
    (saved / name).write_bytes(content)
    with pytest.raises(PlanError, match=rf"{name} is damaged") as caught:
        load_pruned(saved, nets.Concat)
    assert "\n" not in str(caught.value)


def test_a_truncated_weight_file_is_damaged(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(PlanError, match="is damaged"):
        load_pruned(saved, nets.Concat)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["kept"].update(a=[999]),
        lambda document: document["kept"].update(nowhere=[0]),
        lambda document: document["kept"].update(a=[]),
        lambda document: document.update(surprise=1),
        lambda document: document["graph"].pop("slices"),
    ],
)
def test_an_edited_plan_is_refused(saved: Path, change: object) -> None:
    document = json.loads((saved / "plan.json").read_text())
    change(document)  # type: ignore[operator]
    (saved / "plan.json").write_text(json.dumps(document))
    with pytest.raises(RLPruneError):
        load_plan(saved)


def test_a_factory_of_another_architecture_is_refused_by_tensor_name(saved: Path) -> None:
    with pytest.raises(PlanError, match="another network: '[a-z.]+_?[a-z]+' should have"):
        load_pruned(saved, nets.Gated)


def test_a_factory_of_other_widths_is_refused_by_tensor_name(tmp_path: Path) -> None:
    network = nets.build("ghost")
    plan = Plan.uniform(trace(network, nets.images(2)), 0.5)
    plan.save(tmp_path / "model", plan.apply(network))
    with pytest.raises(PlanError, match=r"another network: '[a-z_.]+' should have shape"):
        load_pruned(tmp_path / "model", lambda: nets.Ghost(half=16))


def test_weights_of_another_plan_are_refused(saved: Path, plan: Plan, network: nn.Module) -> None:
    other = Plan.uniform(plan.graph, 0.9)
    other.save(saved.parent / "other", other.apply(network))
    (saved.parent / "other" / "model.safetensors").replace(saved / "model.safetensors")
    with pytest.raises(PlanError, match=r"should have shape|does not fit"):
        load_pruned(saved, nets.Concat)


def test_a_model_without_a_recipe_asks_for_the_factory(saved: Path) -> None:
    with pytest.raises(PlanError, match=r"rlprune\.load\(folder, factory\)"):
        load_pruned(saved)


def test_a_built_in_model_needs_no_factory(tmp_path: Path, digits: DataSplits) -> None:
    from rlprune.models.registry import load_model

    loaded = load_model("mlp", digits)
    images = digits.search.tensors(4)[0]
    plan = Plan.uniform(trace(loaded.module, images), 0.5)
    save_pruned(tmp_path / "m", plan, plan.apply(loaded.module), loaded.recipe)
    assert_same_tensors(load_pruned(tmp_path / "m"), plan.apply(loaded.module))
