"""Gradients that oneDNN's kernel for AVX2 gets wrong; in fresh processes, which it may crash."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from rlprune.kernels import sound_gradients

CHECKS = ctypes.util.find_library("c_malloc_debug")
"""glibc's allocator that ends a process which has written beyond its memory."""

NETWORK = """
import sys
import torch
from torch import nn

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 13, 1, stride=2), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(13, 10),
).to(memory_format=torch.channels_last)
"""

AGAINST_DOUBLE = """
from copy import deepcopy
from rlprune.kernels import sound_gradients

images, classes = torch.randn(64, 1, 14, 14), torch.randint(10, (64,))
slopes = []
for network in (model, deepcopy(model).double()):
    for _ in range(20):
        network.zero_grad()
        with sound_gradients(network):
            logits = network(images.to(network[0].weight.dtype))
        nn.functional.cross_entropy(logits, classes).backward()
    slopes.append([parameter.grad.double() for parameter in network.parameters()])
for own, exact in zip(*slopes):
    torch.testing.assert_close(own, exact, rtol=1e-3, atol=1e-5)
"""

FINETUNED = """
from copy import deepcopy
from rlprune.config import RecipeSettings
from rlprune.data.registry import load_data
from rlprune.evaluate.tasks import Classification
from rlprune.recipes.finetune import finetune

teacher = deepcopy(model).eval()
finetune(model, teacher, load_data("digits"), Classification(), RecipeSettings(), steps=20)
assert all(parameter.isfinite().all() for parameter in model.parameters())
"""


@pytest.mark.parametrize("code", [AGAINST_DOUBLE, FINETUNED], ids=["against double", "finetuned"])
@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_of_narrow_strided_shortcuts_are_sound(code: str, threads: int) -> None:
    checked = {"LD_PRELOAD": CHECKS, "MALLOC_CHECK_": "3"} if CHECKS else {}
    done = subprocess.run(
        [sys.executable, "-c", NETWORK + code, str(threads)],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", **checked},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_layers_are_as_before_afterwards_and_compute_the_same_inside() -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 13, 1, stride=(2, 3))).eval()
    images = torch.randn(2, 1, 9, 9)
    before = model(images)
    with sound_gradients(model):
        torch.testing.assert_close(model(images), before)
        assert model[1].stride == (1, 1)
    assert model[1].stride == (2, 3)
    assert torch.equal(model(images), before)
