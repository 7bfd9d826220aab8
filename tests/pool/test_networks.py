"""Specs can describe the built-in networks, which shows that there is one builder for both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from rlprune.graph.trace import trace
from rlprune.models import build_model, rebuild
from rlprune.pool.networks import network
from rlprune.pool.specs import (
    DenseSpec,
    DepthwiseSpec,
    MLPSpec,
    PlainSpec,
    ResidualSpec,
    SampledSpec,
    VGGSpec,
)
from rlprune.surgery.plan import Plan
from rlprune.surgery.storage import load_pruned, save_pruned

BUILT_IN: dict[str, SampledSpec] = {
    "plain_cnn": PlainSpec(stages=((16, 16), (32, 32), (64,)), kernels=(3, 3, 3), is_strided=False),
    "vgg": VGGSpec(convolutions=(2, 2, 2), widths=(32, 64, 128), kernels=(3, 3, 3), hidden=128),
    "resnet20": ResidualSpec(
        blocks=(3, 3, 3), widths=(16, 32, 64), strides=(1, 2, 2), kernel=3, inner=None
    ),
    "resnet56": ResidualSpec(
        blocks=(9, 9, 9), widths=(16, 32, 64), strides=(1, 2, 2), kernel=3, inner=None
    ),
    "densenet": DenseSpec(
        stem=24, growth=12, layers=(6, 6, 6), kernel=3, squeezed=0, transition_kept=0.5
    ),
    "mobilenetv2": DepthwiseSpec(
        stages=((1, 16, 1, 1), (4, 24, 2, 1), (4, 32, 3, 2), (4, 64, 2, 2)),
        stem=16,
        last=256,
        kernel=3,
        has_shortcuts=True,
    ),
    "mlp": MLPSpec(hidden=(128, 128, 128)),
}

EVERY_OPTION: dict[str, SampledSpec] = {
    "strided": PlainSpec(stages=((12,), (16, 20)), kernels=(5, 3), is_strided=True),
    "vgg": VGGSpec(convolutions=(1, 3), widths=(12, 20), kernels=(5, 3), hidden=24),
    "bottleneck": ResidualSpec(
        blocks=(2, 1), widths=(48, 64), strides=(1, 2), kernel=5, inner=(12, 20)
    ),
    "squeezed": DenseSpec(
        stem=24, growth=12, layers=(2, 3), kernel=5, squeezed=24, transition_kept=0.8
    ),
    "without_shortcuts": DepthwiseSpec(
        stages=((1, 12, 2, 2), (3, 16, 2, 1)), stem=12, last=40, kernel=5, has_shortcuts=False
    ),
    "mlp": MLPSpec(hidden=(40, 12)),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_spec_of_a_built_in_network_gives_that_network(name: str) -> None:
    images = torch.randn(2, 1, 14, 14)
    outputs, states = [], []
    for model in (name, f"pool:{BUILT_IN[name].model_dump_json()}"):
        torch.manual_seed(0)
        module = build_model(model, in_channels=1, num_classes=10, image_size=14).eval()
        states.append(list(module.state_dict()))
        with torch.no_grad():
            outputs.append(module(images))
    assert states[0] == states[1]
    assert torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("spec", [*BUILT_IN.values(), *EVERY_OPTION.values()], ids=str)
def test_depth_counts_the_layers_that_follow_one_another(spec: SampledSpec) -> None:
    layers = [
        name
        for name, module in network(spec, 1, 10, 14).named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert spec.depth == len(layers)


@pytest.mark.parametrize("name", EVERY_OPTION)
def test_every_option_changes_the_network(name: str) -> None:
    spec = EVERY_OPTION[name]
    module = network(spec, 3, 7, 9).eval()
    with torch.no_grad():
        assert module(torch.zeros(2, 3, 9, 9)).shape == (2, 7)
    names = dict(module.named_modules())
    convolutions = [one for one in names.values() if isinstance(one, nn.Conv2d)]
    match spec:
        case PlainSpec():
            assert not any(isinstance(one, nn.MaxPool2d) for one in names.values())
            assert [one.stride[0] for one in convolutions] == [1, 2, 1]
            assert [one.kernel_size[0] for one in convolutions] == [5, 3, 3]
            assert [one.out_channels for one in convolutions] == [12, 16, 20]
        case VGGSpec():
            assert [one.kernel_size[0] for one in convolutions] == [5, 3, 3, 3]
            assert [one.out_channels for one in convolutions] == [12, 20, 20, 20]
        case ResidualSpec():
            inner = [names[f"blocks.{i}.conv2"] for i in range(3)]
            assert [getattr(one, "out_channels", 0) for one in inner] == [12, 12, 20]
            assert {getattr(one, "kernel_size", 0) for one in inner} == {(5, 5)}
        case DenseSpec():
            squeezes = [names[f"blocks.{i}.squeeze.0"] for i in (0, 1, 3, 4, 5)]
            assert {getattr(one, "out_channels", 0) for one in squeezes} == {24}
            assert getattr(names["blocks.2.2"], "out_channels", 0) == int(48 * 0.8)
        case DepthwiseSpec():
            assert not any(getattr(one, "is_residual", False) for one in names.values())
            depthwise = [one for one in convolutions if one.groups > 1]
            assert [one.stride[0] for one in depthwise] == [2, 1, 1, 1]
            assert {one.kernel_size for one in depthwise} == {(5, 5)}
        case MLPSpec():
            assert [getattr(names[f"layers.{i}"], "out_features", 0) for i in (0, 3)] == [40, 12]


def test_a_pruned_network_of_a_pool_is_loaded_without_a_factory(tmp_path: Path) -> None:
    model = f"pool:{EVERY_OPTION['bottleneck'].model_dump_json()}"
    recipe = {"model": model, "in_channels": 1, "num_classes": 10, "image_size": 8}
    images = torch.randn(3, 1, 8, 8)
    dense = rebuild(recipe).eval()
    plan = Plan.uniform(trace(dense, images), 0.5)
    small = plan.apply(dense)
    save_pruned(tmp_path / "model", plan, small, recipe)
    with torch.no_grad():
        assert torch.equal(load_pruned(tmp_path / "model")(images), small(images))
