"""Which module is running, and which of its calls that name sizes is being made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from rlprune.surgery.resized import Calls, call_site, names_sizes


class Numbering:
    """The stack of running modules and the calls that the forward of each has made itself."""

    def __init__(self) -> None:
        self._running: list[tuple[str, Calls]] = [("", Calls())]

    @property
    def module(self) -> str:
        """The innermost module that is running."""
        return self._running[-1][0]

    def push(self, module: str) -> None:
        """Start a module."""
        self._running.append((module, Calls()))

    def pop(self) -> str:
        """End the innermost module and return its name."""
        return self._running.pop()[0]

    def call(self) -> tuple[str, str]:
        """Return the innermost module and which of its calls is being made."""
        site = call_site()
        names = [calls.next(site) for _, calls in self._running]
        return self.module, names[-1]

    @contextmanager
    def following(self, model: nn.Module) -> Iterator[None]:
        """Keep the stack while the model runs."""
        names = {module: name for name, module in model.named_modules()}

        def enter(module: nn.Module, args: Any) -> None:
            self.push(names[module])

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self.pop()

        handles = [m.register_forward_pre_hook(enter) for m in names]
        handles += [m.register_forward_hook(leave) for m in names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class NamingCalls(TorchFunctionMode):
    """Hands every call that names sizes to a function."""

    def __init__(self, handle: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self._handle = handle

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the handler where sizes are named, the function itself elsewhere."""
        kwargs = kwargs or {}
        if names_sizes(func, args, kwargs):
            return self._handle(func, args, kwargs)
        return func(*args, **kwargs)
