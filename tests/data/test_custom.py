from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlprune.data import load_data
from rlprune.errors import DataError, UnknownNameError

HEADER = """
import torch
from torch.utils.data import TensorDataset

def data(count, shape=(3, 6, 6), dtype=torch.float32):
    return TensorDataset(torch.ones(count, *shape, dtype=dtype), torch.arange(count) % 4)
"""


def write(folder: Path, body: str) -> str:
    path = folder / "task.py"
    path.write_text(HEADER + body)
    return f"{path}:make"


def test_a_factory_makes_four_splits_and_its_images_stay_as_they_are(tmp_path: Path) -> None:
    data = load_data(write(tmp_path, "def make(): return data(100), data(20)"))
    assert (data.num_classes, data.input_shape) == (4, (3, 6, 6))
    assert len(data.test) == 20
    assert torch.equal(data.train.tensors(1)[0], torch.ones(1, 3, 6, 6))


def test_a_list_of_samples_is_a_dataset_too(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        "def make():\n"
        "    samples = [(torch.zeros(1, 4, 5), i % 2) for i in range(40)]\n"
        "    return samples, samples[:5]",
    )
    data = load_data(spec)
    assert data.input_shape == (1, 4, 5)
    assert data.tag.endswith("-4x5")
    assert len(next(iter(data.train.loader(8)))[1]) == 8
    assert load_data(spec, image_size=6).input_shape == (1, 6, 6)


NESTED = """
def sample(i):
    inputs = {"image": torch.full((1, 4, 4), i, dtype=torch.float64), "tokens": torch.arange(6) + i}
    return inputs, i % 3

def make():
    return [sample(i) for i in range(40)], [sample(i) for i in range(8)]
"""


def test_dicts_of_images_and_tokens_come_in_batches_with_their_types(tmp_path: Path) -> None:
    data = load_data(write(tmp_path, NESTED))
    assert (data.num_classes, data.input_shape) == (3, (1, 4, 4))
    inputs, targets = data.search.tensors(5)
    assert isinstance(inputs, dict)
    assert (inputs["image"].shape, inputs["image"].dtype) == ((5, 1, 4, 4), torch.float32)
    assert (inputs["tokens"].shape, inputs["tokens"].dtype) == ((5, 6), torch.int64)
    assert torch.equal(inputs["image"][:, 0, 0, 0].long(), inputs["tokens"][:, 0])
    assert torch.equal(inputs["tokens"][:, 0] % 3, targets)
    batch, targets = next(iter(data.train.loader(8, shuffle=True)))
    assert isinstance(batch, dict)
    assert torch.equal(batch["tokens"][:, 0] % 3, targets)


def test_tuples_stay_tuples_and_flat_inputs_have_a_shape_too(tmp_path: Path) -> None:
    body = (
        "def make():\n"
        "    samples = [((torch.zeros(5), torch.ones(2, 3)), i % 2) for i in range(40)]\n"
        "    return samples, samples[:5]"
    )
    data = load_data(write(tmp_path, body))
    inputs, _ = data.test.tensors()
    assert isinstance(inputs, tuple)
    assert [tuple(part.shape) for part in inputs] == [(5, 5), (5, 2, 3)]
    assert data.input_shape == (5, 1, 1)


@pytest.mark.parametrize("in_memory", [True, False])
def test_targets_can_be_tensors_to_rebuild(tmp_path: Path, in_memory: bool) -> None:
    pairs = "TensorDataset(images, 2 * images)"
    made = pairs if in_memory else f"list({pairs})"
    body = (
        "def make():\n"
        "    images = torch.arange(40.0).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)\n"
        f"    return {made}, {made}"
    )
    data = load_data(write(tmp_path, body))
    assert data.num_classes == 1
    seen = []
    for split in (data.train, data.search, data.validation):
        inputs, targets = split.tensors()
        assert torch.equal(targets, 2 * inputs)
        seen += inputs[:, 0, 0, 0].tolist()
    assert sorted(seen) == list(range(40))
    assert seen != sorted(seen)
    inputs, targets = next(iter(data.train.loader(8, shuffle=True)))
    assert targets.dtype is torch.float32
    assert torch.equal(targets, 2 * inputs)


@pytest.mark.parametrize(
    "sample",
    ["({'image': torch.zeros(1, 4, 4)}, 0)", "(torch.zeros(36), 0)", "(torch.zeros(1, 4, 4),) * 2"],
)
def test_only_single_images_are_resized(tmp_path: Path, sample: str) -> None:
    spec = write(tmp_path, f"def make(): return [{sample}] * 40, [{sample}] * 9")
    with pytest.raises(DataError, match="leave out `--image-size`"):
        load_data(spec, image_size=8)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def make(): return data(20)", r"TensorDataset; return \(train_dataset, test_dataset\)"),
        ("def make(): return iter([]), data(9)", "without __len__ and __getitem__"),
        ("def make(): return data(20), data(0)", "the test dataset is empty"),
        (
            "def make(): return [torch.zeros(1, 4, 4)] * 9, data(9)",
            r"a Tensor, not a pair; .* \(input, None\)",
        ),
        ("def make(): return data(20, dtype=torch.uint8), data(9)", "the input is 3x6x6 uint8; "),
        ("def make(): return [('a', 1)] * 9, data(9)", "the input is str; yield a tensor"),
        ("def make(): return [([torch.zeros(3)], 1)] * 9, data(9)", r"the input is \[3\]; yield"),
        ("def make(): return [((), 1)] * 9, data(9)", r"the input is \(\); yield"),
        (
            "def make(): return [({'x': torch.zeros(3), 'y': 'a'}, 1)] * 9, data(9)",
            "the input is {x: 3, y: str}; yield .* a tuple or dict of such tensors",
        ),
        (
            "def make(): return [(torch.zeros(1, 4, 4), 0.5)] * 9, data(9)",
            "the target is 0.5; .* rebuild",
        ),
        ("def make(): return [(torch.zeros(1, 4, 4), -1)] * 9, data(9)", "the target is -1"),
        ("def make(): return data(20), data(9, (3, 8, 8))", "are 3x6x6 and test samples 3x8x8"),
        (
            "def make(): return [(torch.zeros(1, s, 4), 0) for s in (4, 5)] * 9, data(9)",
            r"differ in size \(1x4x4, 1x5x4\)",
        ),
        (
            "def make(): return [((torch.zeros(3), torch.zeros(s)), 0) for s in (4, 5)], data(9)",
            r"differ in size \(\(3, 4\), \(3, 5\)\)",
        ),
        (
            "def make(): return [(torch.zeros(3), torch.zeros(s)) for s in (3, 4)], data(9)",
            r"differ in size \(3 with targets 3, 3 with targets 4\)",
        ),
        ("def make(): return data(20), data(5 // 0)", "ZeroDivisionError: "),
        ("def make(x): return data(20), data(9)", "TypeError: make"),
        ("make = 3", "is of type int, not a function"),
        ("def make(:", "SyntaxError"),
    ],
)
def test_a_wrong_factory_gets_one_line_that_names_the_cause(
    tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_data(write(tmp_path, body))
    assert "\n" not in str(caught.value)


def test_a_mistyped_function_is_answered_with_the_closest_one(tmp_path: Path) -> None:
    spec = write(tmp_path, "def make_task(): return data(20), data(9)")
    with pytest.raises(UnknownNameError, match="did you mean 'make_task'"):
        load_data(spec)


def test_a_missing_file_and_a_missing_function_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file 'nowhere\\.py'"):
        load_data("nowhere.py:make")
    with pytest.raises(DataError, match=r"names no function; type path/to/file.py:factory"):
        load_data(str(tmp_path / "task.py"))


def test_the_file_can_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_task.py").write_text("COUNT = 30")
    spec = write(
        tmp_path,
        "def make():\n    from neighbour_of_task import COUNT\n    return data(COUNT), data(9)",
    )
    assert len(load_data(spec).test) == 9
