from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rlprune.cache.fingerprint import (
    combined,
    of_device,
    of_graph,
    of_inputs,
    of_problem,
    of_tensors,
    processor_name,
)
from rlprune.calling import Inputs
from rlprune.data.splits import DataSplits
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.complex64,
]
shapes = st.lists(st.integers(1, 4), max_size=4)


def numbers(shape: list[int], dtype: torch.dtype = torch.float32) -> Tensor:
    values = torch.arange(1, 1 + torch.Size(shape).numel()).reshape(shape)
    return values.to(dtype)


def test_a_digest_is_32_hexadecimal_digits() -> None:
    for digest in (combined(), of_tensors({}), of_device(torch.device("cpu"), 1)):
        assert len(digest) == 32
        int(digest, 16)


@given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
def test_combined_is_equal_for_equal_parts_only(one: list[str], other: list[str]) -> None:
    assert (combined(*one) == combined(*other)) == (one == other)


def test_combined_knows_where_a_part_ends() -> None:
    assert (
        len({combined("ab"), combined("a", "b"), combined("a", "", "b"), combined("b", "a")}) == 4
    )


@pytest.mark.parametrize("dtype", DTYPES)
@given(shape=shapes, data=st.data())
def test_a_change_of_any_single_element_changes_the_digest(
    dtype: torch.dtype, shape: list[int], data: st.DataObject
) -> None:
    tensor = numbers(shape, dtype)
    changed = tensor.clone()
    position = data.draw(st.integers(0, tensor.numel() - 1))
    flat = changed.reshape(-1)
    flat[position] = 0
    assert of_tensors({"x": changed.reshape(shape)}) != of_tensors({"x": tensor})
    assert of_tensors({"x": tensor.clone()}) == of_tensors({"x": tensor})


@given(st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False))
def test_elements_count_bit_by_bit(one: float, other: float) -> None:
    same = torch.tensor(one).view(torch.int32) == torch.tensor(other).view(torch.int32)
    equal = of_tensors({"x": torch.tensor(one)}) == of_tensors({"x": torch.tensor(other)})
    assert equal == bool(same)


@given(shape=shapes, data=st.data())
def test_the_layout_in_memory_does_not_count(shape: list[int], data: st.DataObject) -> None:
    tensor = numbers(shape)
    order = data.draw(st.permutations(range(len(shape))))
    back = [order.index(dim) for dim in range(len(shape))]
    scattered = tensor.permute(order).contiguous().permute(back)
    padded = torch.zeros([2 * size for size in shape])[tuple(slice(0, None, 2) for _ in shape)]
    padded.copy_(tensor)
    assert of_tensors({"x": scattered}) == of_tensors({"x": tensor})
    assert of_tensors({"x": padded}) == of_tensors({"x": tensor})


def test_channels_last_expanded_and_conjugated_tensors_count_by_their_elements() -> None:
    image = numbers([2, 3, 4, 4])
    assert of_tensors({"x": image.to(memory_format=torch.channels_last)}) == of_tensors(
        {"x": image}
    )
    ones = torch.ones(1).expand(3, 2)
    assert of_tensors({"x": ones}) == of_tensors({"x": torch.ones(3, 2)})
    complex_ = torch.tensor([1 + 2j])
    assert of_tensors({"x": complex_.conj()}) == of_tensors({"x": torch.tensor([1 - 2j])})
    assert of_tensors({"x": complex_.conj()}) != of_tensors({"x": complex_})


def test_parameters_and_tensors_of_inference_mode_count_as_tensors() -> None:
    with torch.inference_mode():
        inference = torch.ones(2, 3) + 1
    expected = of_tensors({"x": torch.full((2, 3), 2.0)})
    assert of_tensors({"x": inference}) == expected
    assert of_tensors({"x": nn.Parameter(torch.full((2, 3), 2.0))}) == expected


def test_names_shapes_and_types_count() -> None:
    zeros = torch.zeros(4)
    mappings = [
        {},
        {"x": zeros},
        {"y": zeros},
        {"x": zeros, "y": zeros},
        {"x": zeros.reshape(2, 2)},
        {"x": zeros.reshape(4, 1)},
        {"x": zeros.to(torch.int32)},
        {"x": zeros.to(torch.bfloat16)},
        {"x": torch.zeros(8, dtype=torch.float16)},
        {"x": torch.zeros(())},
        {"x": torch.zeros(1)},
        {"x": torch.zeros(0)},
        {"x": torch.zeros(0, 3)},
    ]
    assert len({of_tensors(mapping) for mapping in mappings}) == len(mappings)


def test_the_order_of_names_does_not_count_but_who_has_which_tensor_does() -> None:
    a, b = torch.zeros(2), torch.ones(2)
    assert of_tensors({"a": a, "b": b}) == of_tensors({"b": b, "a": a})
    assert of_tensors({"a": a, "b": b}) != of_tensors({"a": b, "b": a})


def test_the_structure_of_inputs_counts() -> None:
    x = torch.ones(2, 3)
    batches: list[Inputs] = [x, (x,), (x, x), {"x": x}, {"y": x}, {"0": x}, {"x": x + 1}]
    assert len({of_inputs(batch) for batch in batches}) == len(batches)
    assert of_inputs({"x": x, "y": x + 1}) == of_inputs({"y": x + 1, "x": x.clone()})


def test_nested_inputs_count_with_all_their_tensors() -> None:
    def batch(last: float) -> Inputs:
        return (torch.ones(2), {"a": (torch.ones(2), torch.tensor([0.0, last]))})  # type: ignore[return-value]

    assert of_inputs(batch(1.0)) == of_inputs(batch(1.0))
    assert of_inputs(batch(1.0)) != of_inputs(batch(2.0))


# Devices


def test_the_number_of_threads_is_part_of_a_device() -> None:
    cpu = torch.device("cpu")
    assert of_device(cpu, 1) == of_device(torch.device("cpu"), 1)
    assert of_device(cpu, 1) != of_device(cpu, 2)


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        ("rlprune.cache.fingerprint", "processor_name", lambda: "another processor"),
        ("platform", "machine", lambda: "riscv64"),
        ("os", "cpu_count", lambda: 4321),
        ("torch", "__version__", "0.0.1"),
    ],
)
def test_what_decides_speed_is_part_of_a_device(
    monkeypatch: pytest.MonkeyPatch, owner: str, name: str, value: object
) -> None:
    here = of_device(torch.device("cpu"), 1)
    monkeypatch.setattr(f"{owner}.{name}", value)
    assert of_device(torch.device("cpu"), 1) != here


def test_the_processor_has_a_name() -> None:
    assert processor_name().strip()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_tensor_on_a_gpu_counts_by_its_elements_and_the_gpu_as_a_device() -> None:
    tensor = numbers([2, 3], torch.bfloat16)
    assert of_tensors({"x": tensor.cuda()}) == of_tensors({"x": tensor})
    gpu = torch.device("cuda")
    assert of_device(gpu, 1) == of_device(gpu, 1) != of_device(torch.device("cpu"), 1)


# Problems


@dataclass(frozen=True)
class Parts:
    """What `of_problem` digests."""

    model: nn.Module
    graph: GroupGraph
    inputs: Tensor
    targets: Tensor
    dense_outputs: Tensor

    def digest(self, **changes: object) -> str:
        return of_problem(**{**vars(self), **changes})  # type: ignore[arg-type]


def parts_of(module: nn.Module, digits: DataSplits) -> Parts:
    model = copy.deepcopy(module).eval()
    inputs, targets = digits.search.tensors(64)
    assert isinstance(inputs, Tensor)
    with torch.inference_mode():
        outputs = model(inputs)
    return Parts(model, trace(model, inputs[:2]), inputs, targets, outputs)


@pytest.fixture
def parts(digits: DataSplits, loaded: Callable[[str], LoadedModel]) -> Parts:
    return parts_of(loaded("plain_cnn").module, digits)


def nudged(tensor: Tensor) -> Tensor:
    """A copy whose last element is a little larger."""
    copied = tensor.clone()
    copied.view(-1)[-1] += 1 if not tensor.is_floating_point() else 1e-4
    return copied


def test_the_same_problem_twice_has_one_digest(
    parts: Parts, digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    again = parts_of(loaded("plain_cnn").module, digits)
    assert again.graph is not parts.graph
    assert again.digest() == parts.digest()
    assert of_graph(again.graph) == of_graph(parts.graph)


def test_the_graph_the_data_and_the_outputs_count(parts: Parts) -> None:
    reordered = parts.graph.model_copy(update={"groups": parts.graph.groups[::-1]})
    digests = [
        parts.digest(),
        parts.digest(graph=reordered),
        parts.digest(inputs=nudged(parts.inputs)),
        parts.digest(targets=nudged(parts.targets)),
        parts.digest(dense_outputs=nudged(parts.dense_outputs)),
        parts.digest(targets=parts.dense_outputs, dense_outputs=parts.targets),
    ]
    assert len(set(digests)) == len(digests)


def test_every_parameter_and_every_buffer_counts(parts: Parts) -> None:
    parts.model.register_buffer("not_saved", torch.ones(3), persistent=False)
    tensors = [*parts.model.parameters(), *parts.model.buffers()]
    digests = {parts.digest()}
    for tensor in tensors:
        original = tensor.detach().clone()
        with torch.no_grad():
            tensor.copy_(nudged(original))
            digests.add(parts.digest())
            tensor.copy_(original)
    assert len(digests) == 1 + len(tensors)


def test_weights_that_are_tied_differ_from_equal_ones(parts: Parts) -> None:
    equal = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    equal[1].load_state_dict(equal[0].state_dict())
    tied = nn.ModuleList([equal[0], nn.Linear(2, 2)])
    tied[1].weight, tied[1].bias = tied[0].weight, tied[0].bias
    assert parts.digest(model=equal) != parts.digest(model=tied)


def test_the_number_of_threads_counts(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    before = parts.digest()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert parts.digest() != before


FRESH = """
import torch
torch.set_num_threads(1)
from rlprune.cache.fingerprint import of_graph, of_problem
from rlprune.data.registry import load_data
from rlprune.graph.trace import trace
from rlprune.models.registry import load_model

digits = load_data("digits")
model = load_model("plain_cnn", digits).module.eval()
inputs, targets = digits.search.tensors(64)
with torch.inference_mode():
    outputs = model(inputs)
graph = trace(model, inputs[:2])
print(of_graph(graph), of_problem(model, graph, inputs, targets, outputs))
"""


def test_a_fresh_process_finds_the_same_digests(
    parts: Parts, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    found = run_python(FRESH)
    assert found.stdout.split() == [of_graph(parts.graph), parts.digest()], found.stderr
