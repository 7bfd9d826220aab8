"""A saved model that was tampered with is refused by name, never with a stack trace."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rlprune.errors import PlanError, RLPruneError
from rlprune.graph.trace import trace
from rlprune.surgery.plan import Plan
from rlprune.surgery.storage import load_plan, load_pruned, save_pruned
from tests import nets
from tests.oracles import random_plan
from tests.surgery.attention_nets import FEATURES, TOKENS
from tests.surgery.factories import FACTORIES

Document = dict[str, Any]

NAMES = ("tokens: separate", "tokens: folded by constants", "image: stages")


def saved(folder: Path, name: str) -> Callable[[], nn.Module]:
    factory = FACTORIES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = factory().eval()
    inputs = torch.ones(2, TOKENS, FEATURES) if name.startswith("tokens") else nets.images(2)
    graph = trace(model, inputs)
    plan = random_plan(graph, 1)
    if graph.blocks:
        plan = Plan({**plan.kept, "stages.0.0 (block)": [], "stages.0.1 (block)": [0]}, graph)
    save_pruned(folder, plan, plan.apply(model))
    return factory


def use(folder: Path, factory: Callable[[], nn.Module]) -> None:
    load_pruned(folder, factory)
    plan = load_plan(folder)
    plan.graph.macs(plan)
    plan.graph.params(plan)
    plan.graph.removed_share()
    str(plan.graph)


def edit(folder: Path, change: Callable[[Document], Any]) -> None:
    document = json.loads((folder / "plan.json").read_text())
    change(document)
    (folder / "plan.json").write_text(json.dumps(document))


def group(document: Document, name: str) -> Document:
    return next(g for g in document["graph"]["groups"] if g["name"] == name)


def piece(document: Document, tensor: str) -> Document:
    return next(s for s in document["graph"]["slices"] if s["tensor"] == tensor)


EDITS: dict[str, tuple[str, Callable[[Document], Any], str]] = {
    "run behind the end": (
        "tokens: separate",
        lambda d: piece(d, "mixer.q.bias").update(runs=[[0, 1, 8]]),
        r"dimension 0 of 'mixer\.q\.bias' follows channels that group 'mixer\.q' does not have",
    ),
    "run of an unknown group": (
        "tokens: separate",
        lambda d: piece(d, "mixer.q.bias").update(runs=[[7, 0, 8]]),
        r"'mixer\.q\.bias' follows channels that group number 7 does not have",
    ),
    "run of no length": (
        "tokens: separate",
        lambda d: piece(d, "mixer.q.bias").update(runs=[[0, 0, 8], [0, 0, 0]]),
        r"'mixer\.q\.bias'",
    ),
    "runs that leave a gap": (
        "tokens: separate",
        lambda d: piece(d, "mixer.q.bias").update(runs=[[0, 0, 6]]),
        r"dimension 0 of 'mixer\.q\.bias' is not described as a whole",
    ),
    "no runs": (
        "tokens: separate",
        lambda d: piece(d, "mixer.q.bias").update(runs=[]),
        r"dimension 0 of 'mixer\.q\.bias' is not described as a whole",
    ),
    "slice of an unknown tensor": (
        "tokens: separate",
        lambda d: piece(d, "mixer.q.bias").update(tensor="mixer.nothing"),
        r"dimension 0 of 'mixer\.nothing' is not described",
    ),
    "slice of an unknown dimension": (
        "tokens: separate",
        lambda d: piece(d, "mixer.q.bias").update(dim=1),
        r"dimension 1 of 'mixer\.q\.bias' is not described",
    ),
    "attribute of an unknown module": (
        "tokens: separate",
        lambda d: d["graph"]["attributes"][0].update(module="mixer.nobody"),
        r"no module 'mixer\.nobody'",
    ),
    "unknown attribute": (
        "tokens: separate",
        lambda d: d["graph"]["attributes"][0].update(name="nothing"),
        "'mixer' has no integer attribute 'nothing'",
    ),
    "attribute that is no number": (
        "tokens: separate",
        lambda d: d["graph"]["attributes"][0].update(name="proj"),
        "'mixer' has no integer attribute 'proj'",
    ),
    "attribute with channels that do not exist": (
        "tokens: separate",
        lambda d: d["graph"]["attributes"][0].update(runs=[[0, 0, 99]]),
        "attribute 'num_heads' follows channels that group 'mixer.q' does not have",
    ),
    "attribute that counts nothing": (
        "tokens: separate",
        lambda d: d["graph"]["attributes"][0].update(runs=[]),
        "num_heads",
    ),
    "sizes of an unknown module": (
        "tokens: folded by constants",
        lambda d: d["graph"]["resizes"][0].update(module="mixer.nobody"),
        r"no module 'mixer\.nobody'",
    ),
    "sizes with channels that do not exist": (
        "tokens: folded by constants",
        lambda d: next(iter(_sizes(d).values())).append([0, 8, 1]),
        "follows channels that group 'mixer.q' does not have",
    ),
    "a size that counts nothing": (
        "tokens: folded by constants",
        lambda d: _sizes(d).update({next(iter(_sizes(d))): []}),
        "mixer",
    ),
    "costs of an unknown group": (
        "tokens: separate",
        lambda d: d["graph"]["operations"][1]["sizes"][0].update(slopes={"9": 1.0}),
        "mixer.q|group number 9",
    ),
    "steps of nothing": (
        "tokens: separate",
        lambda d: group(d, "mixer.q").update(step=0),
        "mixer.q|step",
    ),
    "a block without a module": (
        "image: stages",
        lambda d: group(d, "stages.0.0 (block)").update(members=[]),
        r"stages\.0\.0",
    ),
    "a block of another module": (
        "image: stages",
        lambda d: group(d, "stages.0.0 (block)").update(members=["stages.7"]),
        r"stages\.(7|0\.0)",
    ),
    "index behind the end": (
        "tokens: separate",
        lambda d: d["kept"].update({"mixer.q": [0, 1, 8, 9]}),
        r"group 'mixer\.q' needs at least one kept channel in 0\.\.7",
    ),
    "negative index": (
        "tokens: separate",
        lambda d: d["kept"].update({"mixer.q": [-1, 0]}),
        r"group 'mixer\.q'",
    ),
    "half a head": (
        "tokens: separate",
        lambda d: d["kept"].update({"mixer.q": [0]}),
        r"group 'mixer\.q' has channels that are tied in sets of 2",
    ),
    "no channels": ("tokens: separate", lambda d: d["kept"].update({"mixer.q": []}), "'mixer.q'"),
    "an unknown group": ("tokens: separate", lambda d: d["kept"].update(nobody=[0]), "'nobody'"),
    "a block kept twice": (
        "image: stages",
        lambda d: d["kept"].update({"stages.0.0 (block)": [0, 1]}),
        r"group 'stages\.0\.0 \(block\)'",
    ),
    "a block that is there after all": (
        "image: stages",
        lambda d: d["kept"].update({"stages.0.0 (block)": [0]}),
        r"has no tensor 'stages\.0\.0\.",
    ),
    "a block that is gone after all": (
        "image: stages",
        lambda d: d["kept"].update({"stages.0.1 (block)": []}),
        r"should not have a tensor 'stages\.0\.1\.",
    ),
    "fewer channels": (
        "image: stages",
        lambda d: d["kept"].update({"stages.1.1.one": [0]}),
        r"'stages\.1\.1\.one\.weight' \(group .*stages\.1\.1\.one",
    ),
    "other type": (
        "image: stages",
        lambda d: d["graph"]["tensors"]["stem.0.bias"].update(dtype="float16"),
        r"'stem\.0\.bias' \(group stem\.0\) should be float16",
    ),
    "another version": ("image: stages", lambda d: d.update(version=1), "version"),
}


def _sizes(document: Document) -> Document:
    sizes: Document = document["graph"]["resizes"][0]["sizes"]
    return sizes


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("damaged")
    for name in NAMES:
        saved(root / name, name)
    return {name: root / name for name in NAMES}


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    def copy_of(name: str) -> Path:
        target = tmp_path / "model"
        target.mkdir()
        for file in folders[name].iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        return target

    return copy_of


@pytest.mark.parametrize("name", NAMES)
def test_an_untouched_folder_is_fine(name: str, copied: Callable[[str], Path]) -> None:
    use(copied(name), FACTORIES[name])


@pytest.mark.parametrize("damage", EDITS)
def test_an_edited_plan_is_refused_by_name(damage: str, copied: Callable[[str], Path]) -> None:
    name, change, words = EDITS[damage]
    folder = copied(name)
    edit(folder, change)
    with pytest.raises(RLPruneError, match=words) as caught:
        use(folder, FACTORIES[name])
    assert "\n" not in str(caught.value)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items: Any = document.items() if isinstance(document, dict) else ()
    for key, value in enumerate(document) if isinstance(document, list) else items:
        yield from places(value, (*path, key))


@pytest.mark.parametrize("name", NAMES)
def test_no_value_of_a_plan_can_cause_anything_but_a_clear_error(
    name: str, copied: Callable[[str], Path]
) -> None:
    folder = copied(name)
    original = json.loads((folder / "plan.json").read_text())
    alike = {}
    for path in places(original):
        pattern = tuple(key if isinstance(key, str) else None for key in path)
        alike.setdefault(pattern, path)
    caused = []
    for path in alike.values():
        for value in (-1, 0, 10**6, "x", None, [], {}):
            document = copy.deepcopy(original)
            inner = document
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            (folder / "plan.json").write_text(json.dumps(document))
            try:
                use(folder, FACTORIES[name])
            except RLPruneError:
                continue
            except Exception as error:
                caused.append((path, value, repr(error)))
    assert caused == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("mixer.proj.bias"), r"has no tensor 'mixer\.proj\.bias'"),
        (lambda t: t.update(more=torch.ones(1)), "should not have a tensor 'more'"),
        (
            lambda t: t.update({"mixer.q.bias": t["mixer.q.bias"].half()}),
            r"'mixer\.q\.bias' \(group mixer\.q\) should be float32 .* found float16",
        ),
        (
            lambda t: t.update({"mixer.q.bias": torch.ones(7)}),
            r"'mixer\.q\.bias' \(group mixer\.q\) should be float32",
        ),
        (
            lambda t: t.update({"head.bias": torch.ones(4)}),
            r"'head\.bias' should be float32 \(3,\)",
        ),
        (
            lambda t: t.update({"mixer.q.weight": t["mixer.q.weight"].flatten()}),
            r"'mixer\.q\.weight' \(group mixer\.q\)",
        ),
        (lambda t: t.clear() or t.update(x=torch.ones(1)), r"has no tensor 'embed\.weight'"),
    ],
)
def test_other_weights_are_refused_by_tensor(
    change: Callable[[dict[str, Tensor]], Any], words: str, copied: Callable[[str], Path]
) -> None:
    folder = copied("tokens: separate")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(PlanError, match=words) as caught:
        load_pruned(folder, FACTORIES["tokens: separate"])
    assert "\n" not in str(caught.value)


def test_a_python_file_that_a_plan_names_is_not_run_without_a_factory(
    tmp_path: Path, copied: Callable[[str], Path]
) -> None:
    name = "tokens: separate"
    folder, trap, mark = copied(name), tmp_path / "trap.py", tmp_path / "ran"
    trap.write_text(f"open({str(mark)!r}, 'w')\ndef factory(): raise RuntimeError\n")
    edit(folder, lambda d: d.update(recipe={"model": f"{trap}:factory"}))
    with pytest.raises(
        PlanError, match=r"names the Python file .*trap\.py.* does not run"
    ) as caught:
        load_pruned(folder)
    assert "rlprune.load(folder, factory)" in str(caught.value)
    assert not mark.exists()
    load_pruned(folder, FACTORIES[name])
    assert not mark.exists()


@pytest.mark.parametrize("recipe", [{}, {"model": 3}, {"model": "nothing"}, {"model": "os:system"}])
def test_a_recipe_that_builds_nothing_is_refused(
    recipe: Document, copied: Callable[[str], Path]
) -> None:
    folder = copied("tokens: separate")
    edit(folder, lambda d: d.update(recipe=recipe))
    with pytest.raises(RLPruneError):
        load_pruned(folder)
