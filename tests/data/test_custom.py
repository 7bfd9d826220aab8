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


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def make(): return data(20)", r"TensorDataset; return \(train_dataset, test_dataset\)"),
        ("def make(): return iter([]), data(9)", "without __len__ and __getitem__"),
        ("def make(): return data(20), data(0)", "the test dataset is empty"),
        ("def make(): return [torch.zeros(1, 4, 4)] * 9, data(9)", "a Tensor, not a pair"),
        ("def make(): return data(20, (36,)), data(9)", "the image is a 36 float32 tensor"),
        ("def make(): return data(20, dtype=torch.uint8), data(9)", "3x6x6 uint8 tensor"),
        ("def make(): return [('a', 1)] * 9, data(9)", "the image is a str"),
        ("def make(): return [(torch.zeros(1, 4, 4), 0.5)] * 9, data(9)", "the target is 0.5"),
        ("def make(): return [(torch.zeros(1, 4, 4), -1)] * 9, data(9)", "the target is -1"),
        ("def make(): return data(20), data(9, (3, 8, 8))", "are 3x6x6 and test images 3x8x8"),
        (
            "def make(): return [(torch.zeros(1, s, 4), 0) for s in (4, 5)] * 9, data(9)",
            r"differ in size \(1x4x4, 1x5x4\)",
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
