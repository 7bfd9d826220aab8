"""A teacher that remembers says what it would have said, and is asked once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlprune.calling import call
from rlprune.recipes.teacher import RememberingTeacher


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        self.asked += 1
        return {"logits": 2 * x if y is None else x - y}


A, B = torch.arange(6.0).view(2, 3), torch.ones(2, 3)


@pytest.mark.parametrize(
    ("inputs", "answer"),
    [(A, 2 * A), ((A,), 2 * A), ((A, B), A - B), ({"x": A, "y": B}, A - B), ((B, A), B - A)],
)
def test_every_batch_is_answered_once(inputs: Any, answer: Tensor) -> None:
    counting = Counting()
    teacher = RememberingTeacher(counting)
    for _ in range(3):
        assert torch.equal(call(teacher, inputs), answer)
    assert counting.asked == 1


def test_batches_that_differ_in_one_number_are_not_mixed_up() -> None:
    teacher = RememberingTeacher(Counting())
    teacher(A)
    other = A.clone()
    other[1, 2] += 1
    assert torch.equal(teacher(other), 2 * other)
    assert torch.equal(teacher(A, B), A - B)
    assert torch.equal(teacher(A), 2 * A)


def test_memory_is_bounded() -> None:
    counting = Counting()
    teacher = RememberingTeacher(counting, most_bytes=A.nbytes)
    for _ in range(2):
        assert torch.equal(teacher(A), 2 * A)
        assert torch.equal(teacher(B), 2 * B)
    assert counting.asked == 3
