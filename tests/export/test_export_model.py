"""Exported files compute what torch computes, at any batch size."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from rlprune.calling import Inputs
from rlprune.export import FORMATS, ExportCheck, export_model
from rlprune.graph.trace import trace
from rlprune.models.registry import BUILTIN_NAMES, build_model
from rlprune.surgery.plan import Plan
from tests import nets
from tests.export.networks import IMAGES, TOKENS, Clashing, Counted, Fused, Reshaped, Warns
from tests.oracles import outputs


@pytest.fixture(scope="module")
def pruned() -> nn.Module:
    network = nets.build("flattened")
    return Plan.uniform(trace(network, IMAGES), 0.5).apply(network)


@pytest.fixture(scope="module", params=FORMATS)
def exported(
    request: pytest.FixtureRequest, pruned: nn.Module, tmp_path_factory: pytest.TempPathFactory
) -> ExportCheck:
    """The pruned network in one format."""
    folder = tmp_path_factory.mktemp("export") / request.param
    return export_model(pruned, IMAGES, folder, request.param)


@pytest.fixture(scope="module", params=FORMATS)
def fused(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[nn.Module, ExportCheck]:
    """A network with two inputs, given in another order than `forward` takes them."""
    model = Fused().eval().requires_grad_(False)
    example: Inputs = {"tokens": TOKENS, "image": IMAGES}
    folder = tmp_path_factory.mktemp("fused") / request.param
    return model, export_model(model, example, folder, request.param)


def run_file(file: Path, *inputs: Tensor) -> list[Tensor]:
    """Run a file without this package; ONNX files take their inputs in the file's order."""
    if file.suffix == ".pt2":
        found = torch.export.load(file).module()(*inputs)
        return [found] if isinstance(found, Tensor) else list(found)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    feeds = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    return [torch.as_tensor(value) for value in session.run(None, feeds)]


def test_a_file_is_compared_at_two_batch_sizes(exported: ExportCheck) -> None:
    assert exported.dynamic_batch
    assert exported.batch_fixed_by is None
    assert set(exported.differences) == {2, 3}
    for difference in exported.differences.values():
        assert difference.absolute < 1e-5
        assert difference.relative < 1e-5
    assert [path.name for path in exported.file.parent.iterdir()] == [exported.file.name]
    assert exported.bytes == exported.file.stat().st_size


@pytest.mark.parametrize("size", [1, 7])
def test_a_file_takes_batches_of_sizes_that_were_not_tried(
    exported: ExportCheck, pruned: nn.Module, size: int
) -> None:
    images = nets.images(size, seed=5)
    (found,) = run_file(exported.file, images)
    torch.testing.assert_close(found, outputs(pruned, images), rtol=1e-4, atol=1e-5)


def test_an_onnx_file_names_its_batch_and_its_output(pruned: nn.Module, tmp_path: Path) -> None:
    file = export_model(pruned, IMAGES, tmp_path / "out", "onnx").file
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [(item.name, item.shape) for item in session.get_inputs()] == [("x", ["batch", 1, 8, 8])]
    assert [(item.name, item.shape) for item in session.get_outputs()] == [
        ("output", ["batch", 10])
    ]


def test_several_inputs_and_a_dict_of_outputs(fused: tuple[nn.Module, ExportCheck]) -> None:
    model, check = fused
    assert check.dynamic_batch
    images, tokens = nets.images(5), torch.arange(15).reshape(5, 3) % 10
    expected = model(images, tokens)
    if check.file.suffix == ".pt2":
        found = torch.export.load(check.file).module()(tokens=tokens, image=images)
        assert list(found) == ["logits", "more"]
        torch.testing.assert_close(found, expected)
        return
    session = onnxruntime.InferenceSession(check.file, providers=["CPUExecutionProvider"])
    assert {item.name for item in session.get_inputs()} == {"tokens", "image"}
    names = ["output.logits", "output.more.0", "output.more.1"]
    assert [item.name for item in session.get_outputs()] == names
    values = session.run(names, {"image": images.numpy(), "tokens": tokens.numpy()})
    flat = [expected["logits"], *expected["more"]]
    for value, tensor in zip(values, flat, strict=True):
        torch.testing.assert_close(torch.as_tensor(value), tensor, rtol=1e-4, atol=1e-5)


def test_a_tuple_is_given_as_positional_arguments(tmp_path: Path) -> None:
    check = export_model(Fused(), (IMAGES, TOKENS), tmp_path / "out", "torch-export")
    assert set(check.differences) == {2, 3}


def test_an_example_of_one_sample_does_not_fix_the_batch(pruned: nn.Module, tmp_path: Path) -> None:
    check = export_model(pruned, IMAGES[:1], tmp_path / "out", "torch-export")
    assert check.dynamic_batch
    assert set(check.differences) == {1, 2}
    assert run_file(check.file, nets.images(6))[0].shape == (6, 10)


@pytest.mark.parametrize("format", FORMATS)
def test_names_of_layers_that_torch_uses_itself_are_no_obstacle(
    tmp_path: Path, format: str
) -> None:
    check = export_model(Clashing(), IMAGES, tmp_path / "out", format)
    assert check.dynamic_batch
    assert run_file(check.file, nets.images(4))[0].shape == (4, 3)
    if format == "onnx":
        assert onnxruntime.InferenceSession(check.file).get_inputs()[0].name == "x"


@pytest.mark.parametrize("format", FORMATS)
def test_a_network_that_fixes_the_batch_is_exported_for_that_size_and_says_so(
    tmp_path: Path, format: str
) -> None:
    check = export_model(Reshaped(), IMAGES, tmp_path / "out", format)
    assert not check.dynamic_batch
    assert set(check.differences) == {2}
    assert check.batch_fixed_by == "mat1 and mat2 shapes cannot be multiplied (2x96 and 64x3)"
    assert run_file(check.file, IMAGES)[0].shape == (2, 3)


def test_a_trace_that_fixes_the_batch_is_explained_in_one_sentence(tmp_path: Path) -> None:
    check = export_model(Counted(), IMAGES, tmp_path / "out", "torch-export")
    assert check.batch_fixed_by is not None
    assert "specialized it to be a constant (2)" in check.batch_fixed_by
    assert "\n" not in check.batch_fixed_by


@pytest.mark.parametrize("format", FORMATS)
def test_exporters_print_nothing(
    pruned: nn.Module, tmp_path: Path, format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    export_model(pruned, IMAGES, tmp_path / "out", format)
    assert capfd.readouterr() == ("", "")


def test_warnings_of_the_network_itself_are_heard(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="mind the gap"):
        export_model(Warns(), IMAGES, tmp_path / "out", "torch-export")


def test_the_network_is_exported_for_evaluation_and_stays_as_it_was(tmp_path: Path) -> None:
    network = nets.build("flattened").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check = export_model(network, IMAGES, tmp_path / "out", "torch-export")
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    (found,) = run_file(check.file, IMAGES)
    assert torch.equal(found, outputs(network.eval(), IMAGES))


def test_the_example_is_not_kept_in_the_file(pruned: nn.Module, tmp_path: Path) -> None:
    check = export_model(pruned, IMAGES, tmp_path / "out", "torch-export")
    assert torch.export.load(check.file).example_inputs is None
    assert IMAGES.numpy().tobytes()[:64] not in check.file.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", nets.PRUNABLE)
def test_every_special_structure_can_be_exported(name: str, format: str, tmp_path: Path) -> None:
    network = nets.build(name)
    small = Plan.uniform(trace(network, IMAGES), 0.5).apply(network)
    assert export_model(small, IMAGES, tmp_path / "out", format).dynamic_batch


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_every_built_in_network_can_be_exported(name: str, format: str, tmp_path: Path) -> None:
    network = build_model(name, in_channels=1, num_classes=10, image_size=8)
    assert export_model(network, IMAGES, tmp_path / "out", format).dynamic_batch
