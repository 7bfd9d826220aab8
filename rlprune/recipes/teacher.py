"""A teacher that is asked about the same batches by many students."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rlprune.cache.fingerprint import of_inputs
from rlprune.calling import main_output

MOST_BYTES = 1 << 28


class RememberingTeacher(nn.Module):
    """Answers like a network that never changes; batches that it has seen cost no forward pass.

    Students of one seed are trained on the same batches, and a teacher may cost more than they do.
    What is remembered is the answer to a whole batch, bit for bit, so that results do not depend
    on who was taught before.

    Args:
        teacher: in eval mode.
        most_bytes: of answers that are remembered; the ones after that are computed each time.
    """

    def __init__(self, teacher: nn.Module, most_bytes: int = MOST_BYTES) -> None:
        super().__init__()
        self._teacher = teacher
        self._known: dict[str, Tensor] = {}
        self._left = most_bytes

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return what a task reads of the teacher's outputs."""
        key = of_inputs(kwargs or args)
        known = self._known.get(key)
        if known is not None:
            return known
        answer = main_output(self._teacher(*args, **kwargs)).detach()
        if answer.nbytes <= self._left:
            self._left -= answer.nbytes
            self._known[key] = answer
        return answer
