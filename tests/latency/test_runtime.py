"""All runtimes compute what the network computes, and say what they cannot do."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from rlprune.calling import tensors_in
from rlprune.errors import ExportError, RLPruneError, UnknownNameError
from rlprune.latency.runtime import RUNTIMES, prepare
from tests import nets

SLOW = {"compile": pytest.mark.slow}


@pytest.mark.parametrize("runtime", [pytest.param(r, marks=SLOW.get(r, ())) for r in RUNTIMES])
@pytest.mark.parametrize("images", [1, 3])
def test_every_runtime_computes_what_the_network_computes(runtime: str, images: int) -> None:
    network, batch = nets.build("concat"), nets.images(images)
    with torch.no_grad():
        expected = network(batch)
    (found,) = tensors_in(prepare(network, batch, runtime)())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_eager_is_inference_mode_on_the_whole_batch() -> None:
    class Looking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert torch.is_inference_mode_enabled()
            return x + 1

    assert prepare(Looking(), torch.zeros(5, 2), "eager")().shape == (5, 2)


def test_an_unknown_runtime_is_named_with_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'eager'"):
        prepare(nn.Identity(), torch.zeros(1), "egaer")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_batch_without_samples_is_refused(runtime: str) -> None:
    with pytest.raises(RLPruneError, match=r"\(0, 1, 8, 8\) has no sample.*1 or more"):
        prepare(nets.build("concat"), nets.images(0), runtime)


def test_onnx_runtime_that_is_missing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    load = importlib.import_module

    def missing(name: str, package: str | None = None) -> ModuleType:
        if name.startswith("onnxruntime"):
            raise ImportError(name)
        return load(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ExportError, match=r'pip install "rlprune\[export\]"'):
        prepare(nets.build("concat"), nets.images(), "onnxruntime")


def test_onnx_runtime_is_timed_on_the_cpu_only() -> None:
    batch = torch.zeros(1, 1, 8, 8, device="meta")
    with pytest.raises(ExportError, match="on the CPU, not on meta"):
        prepare(nets.build("concat"), batch, "onnxruntime")


@pytest.mark.slow
def test_more_plans_than_pytorch_compiles_by_default_are_compiled() -> None:
    counters = torch._dynamo.utils.counters["stats"]
    batch = nets.images(2)
    for width in range(2, 13):
        network = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU()).eval()
        before = counters["unique_graphs"]
        prepare(network, batch, "compile")()
        assert counters["unique_graphs"] == before + 1
