"""Residual blocks: modules that could be bypassed because their output is their input plus more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_SUMS, _TERMS = {"add", "add_"}, 2
# What may follow the sum within a block: its effect is lost together with the block.
_AFTER = {
    "relu", "relu_", "hardtanh", "hardtanh_", "gelu", "silu", "silu_", "hardswish", "hardswish_",
    "leaky_relu", "leaky_relu_", "elu", "elu_", "clone", "alias", "detach", "_to_copy", "dropout",
}  # fmt: skip


@dataclass(frozen=True)
class _Chain:
    """How a tensor came about: the tensors it is a sum of, and the last sum on the way."""

    terms: frozenset[int]
    last_sum: int


@dataclass
class _Entered:
    module: str
    inputs: list[tuple[int, tuple[int, ...]]]
    clock: int


class Sums:
    """Follows sums through a forward pass."""

    def __init__(self) -> None:
        self._chains: Any = WeakIdKeyDictionary()
        self._serials: Any = WeakIdKeyDictionary()
        self._clock = 0
        self._entered: list[_Entered] = []
        self._found: dict[str, str] = {}

    def follow(self, name: str, computed: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Take note of one operation that has run.

        Args:
            name: of the operation.
            computed: its arguments that depend on the input of the model.
            outputs: what it returned.
        """
        if (name in _SUMS and len(computed) == _TERMS) or name in _AFTER:
            parts = list(computed)
        else:
            parts = []
        chains = [self._chain(part) for part in parts]
        for tensor in outputs:
            serial = self._new(tensor)
            terms = frozenset({serial}).union(*(chain.terms for chain in chains))
            last = serial if len(parts) > 1 else max((c.last_sum for c in chains), default=0)
            self._chains[tensor] = _Chain(terms, last)

    def enter(self, module: str, inputs: Sequence[Tensor]) -> None:
        """Take note of a module that starts."""
        seen = [(self._serial(tensor), tuple(tensor.shape)) for tensor in inputs]
        self._entered.append(_Entered(module, seen, self._clock))

    def leave(self, module: str, output: Any, has_parameters: bool) -> None:
        """Decide about a module that has ended."""
        entered = self._entered.pop()
        if not isinstance(output, Tensor) or not module or not has_parameters:
            return
        chain = self._chain(output)
        if chain.last_sum <= entered.clock:
            return
        again = module in self._found
        self._found[module] = (
            "it is used more than once" if again else _reason(entered, chain, output)
        )

    def blocks(self) -> dict[str, str]:
        """Return `{module: reason}` of innermost blocks; an empty reason means removable."""
        return {
            module: reason
            for module, reason in self._found.items()
            if not any(other.startswith(f"{module}.") for other in self._found)
        }

    def _new(self, tensor: Tensor) -> int:
        self._clock += 1
        self._serials[tensor] = self._clock
        return self._clock

    def _serial(self, tensor: Tensor) -> int:
        known: int | None = self._serials.get(tensor)
        return self._new(tensor) if known is None else known

    def _chain(self, tensor: Tensor) -> _Chain:
        chain: _Chain | None = self._chains.get(tensor)
        return chain or _Chain(frozenset({self._serial(tensor)}), 0)


def _reason(entered: _Entered, chain: _Chain, output: Tensor) -> str:
    if not entered.inputs:
        return "it takes no tensor"
    serial, shape = entered.inputs[0]
    if shape != tuple(output.shape):
        return f"it changes the shape from {shape[1:]} to {tuple(output.shape[1:])}"
    if serial not in chain.terms:
        return "its shortcut has layers of its own"
    return ""
