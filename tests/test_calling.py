"""One tensor, a tuple or a dict goes in; the tensor that a task reads comes out."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlprune.calling import (
    Inputs,
    batch_size,
    call,
    concatenate,
    main_output,
    repeated,
    shapes,
    take,
    tensors_in,
    to_device,
)
from rlprune.errors import ModelError

IMAGES, TOKENS = torch.randn(5, 1, 4, 4), torch.arange(15).reshape(5, 3)
KINDS: dict[str, Any] = {
    "tensor": IMAGES,
    "tuple": (IMAGES, TOKENS),
    "dict": {"images": IMAGES, "tokens": TOKENS},
    "nested": {"pair": (IMAGES, TOKENS)},
}
Named = namedtuple("Named", ["hidden", "logits"])


class Recorder(nn.Module):
    """Returns how it was called."""

    def forward(self, *arguments: Tensor, **keywords: Tensor) -> Any:
        return arguments, keywords


def same(one: Any, other: Any) -> bool:
    pairs = zip(tensors_in(one), tensors_in(other), strict=True)
    return shapes(one) == shapes(other) and all(torch.equal(a, b) for a, b in pairs)


def test_a_tensor_is_the_only_argument_a_tuple_the_arguments_a_dict_the_keywords() -> None:
    model = Recorder()
    assert call(model, IMAGES) == ((IMAGES,), {})
    assert call(model, (IMAGES, TOKENS)) == ((IMAGES, TOKENS), {})
    assert call(model, KINDS["dict"]) == ((), KINDS["dict"])
    assert call(model, KINDS["nested"]) == ((), KINDS["nested"])


@pytest.mark.parametrize("kind", KINDS)
def test_splitting_and_joining_give_the_batch_back(kind: str) -> None:
    inputs: Inputs = KINDS[kind]
    parts = [take(inputs, slice(i, i + 2)) for i in (0, 2, 4)]
    assert batch_size(inputs) == 5
    assert [batch_size(part) for part in parts] == [2, 2, 1]
    assert same(concatenate(parts), inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_taken_from_every_tensor_alike(kind: str) -> None:
    order = torch.tensor([4, 0, 1])
    chosen = tensors_in(take(KINDS[kind], order))
    assert all(map(torch.equal, chosen, [t[order] for t in tensors_in(KINDS[kind])]))
    assert same(take(KINDS[kind], slice(5)), KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 5, 12])
def test_a_batch_is_repeated_to_any_size(kind: str, size: int) -> None:
    expected = take(KINDS[kind], torch.arange(size) % 5)
    assert same(repeated(KINDS[kind], size), expected)


def test_repeating_leaves_types_and_tensors_of_one_dimension_alone() -> None:
    inputs = (torch.tensor([True, False]), torch.arange(2))
    flags, numbers = repeated(inputs, 3)
    assert flags.tolist() == [True, False, True]
    assert numbers.tolist() == [0, 1, 0]


def test_everything_moves_to_the_device() -> None:
    moved = to_device((KINDS["dict"], TOKENS), torch.device("meta"))
    assert {tensor.device.type for tensor in tensors_in(moved)} == {"meta"}
    assert shapes(moved) == ({"images": (5, 1, 4, 4), "tokens": (5, 3)}, (5, 3))


@pytest.mark.parametrize(
    "outputs",
    [
        IMAGES,
        (IMAGES, torch.zeros(1)),
        [TOKENS, IMAGES],
        {"hidden": torch.zeros(5, 7), "logits": IMAGES},
        {"hidden": torch.zeros(5, 7), "out": IMAGES},
        {"logits": IMAGES, "out": torch.zeros(5, 2)},
        {"first": IMAGES, "second": torch.zeros(1)},
        {"logits": None, "first": (TOKENS, IMAGES)},
        OrderedDict(loss=torch.zeros(()), logits=IMAGES),
        UserDict({"loss": torch.zeros(()), "logits": IMAGES}),
        Named(IMAGES, None),
    ],
)
def test_the_main_output_is_found_by_name_or_is_the_first_of_floats(outputs: Any) -> None:
    assert main_output(outputs) is IMAGES


@pytest.mark.parametrize("outputs", [None, (), {}, "text", (TOKENS, 3), {"logits": TOKENS}])
def test_an_output_without_floats_is_refused_by_its_type(outputs: Any) -> None:
    with pytest.raises(ModelError, match=f"returns {type(outputs).__name__} with no") as caught:
        main_output(outputs)
    assert "dict with 'logits'" in str(caught.value)
