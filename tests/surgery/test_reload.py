"""Networks with heads, attributes, named sizes and blocks come back in a process of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rlprune.graph.trace import trace
from rlprune.surgery.plan import Plan
from rlprune.surgery.storage import save_pruned
from tests import nets
from tests.oracles import counted_params, outputs, random_plan
from tests.surgery.attention_nets import FEATURES, TOKENS
from tests.surgery.factories import FACTORIES

LOAD = """
import sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
import rlprune
root, results = Path(sys.argv[1]), {}
torch.set_num_threads(1)
from tests.surgery.factories import FACTORIES
for number, name in enumerate(FACTORIES):
    model = rlprune.load(root / str(number), FACTORIES[name])
    with torch.no_grad():
        results[name] = model(load_file(root / f"{number}.inputs")["inputs"])
    plan = rlprune.load_plan(root / str(number))
    results[f"{name}.macs"] = torch.tensor(plan.graph.macs(plan))
    results[f"{name}.params"] = torch.tensor(sum(p.numel() for p in model.parameters()))
    removed = [type(model.get_submodule(n)).__name__ for n in plan.graph.bypassed(plan.kept)]
    assert set(removed) <= {"Bypass"}, removed
save_file(results, root / "results")
print(*[m for m in ("torch_pruning", "rlprune.graph.trace", "gymnasium") if m in sys.modules])
"""


@cache
def subject(name: str) -> tuple[nn.Module, Plan, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = nets.unlike_initial(FACTORIES[name]()).eval()
        tokens = name.startswith("tokens")
        inputs = torch.randn(5, TOKENS, FEATURES) if tokens else nets.images(5)
    graph = trace(dense, inputs[:2])
    plan = random_plan(graph, 1)
    if graph.blocks:
        plan = Plan({**plan.kept, graph.names[-1]: []}, graph)
    return dense, plan, inputs


@pytest.fixture(scope="module")
def reloaded(
    tmp_path_factory: pytest.TempPathFactory,
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> dict[str, Tensor]:
    root: Path = tmp_path_factory.mktemp("saved")
    for number, name in enumerate(FACTORIES):
        dense, plan, inputs = subject(name)
        save_pruned(root / str(number), plan, plan.apply(dense))
        save_file({"inputs": inputs}, root / f"{number}.inputs")
    done = run_python(LOAD, root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "", f"loading imported {done.stdout}"
    return load_file(root / "results")


@pytest.mark.parametrize("name", FACTORIES)
def test_it_computes_the_same_bits_there(name: str, reloaded: dict[str, Tensor]) -> None:
    dense, plan, inputs = subject(name)
    small = plan.apply(dense)
    assert torch.equal(reloaded[name], outputs(small, inputs))
    assert int(reloaded[f"{name}.macs"]) == plan.graph.macs(plan)
    assert int(reloaded[f"{name}.params"]) == counted_params(small)


def test_the_networks_have_what_these_tests_are_about() -> None:
    graphs = [subject(name)[1].graph for name in FACTORIES]
    assert sum(bool(graph.attributes) for graph in graphs) > 5
    assert sum(bool(graph.resizes) for graph in graphs) > 5
    assert any(graph.blocks for graph in graphs)
    assert any(not info.is_saved for graph in graphs for info in graph.tensors.values())
