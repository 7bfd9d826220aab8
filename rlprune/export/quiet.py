"""Keep exporters from talking: what matters is in their exceptions and in our check."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr

_EXPORTERS = ("torch", "onnxscript")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters inside the block; warnings of the user's own forward pass still show.

    - Warnings about the exporters' own code, such as torch calling what it has deprecated itself.
    - Log records below `CRITICAL`: torch logs what it then raises too.
    - Standard error: torch prints the graph of a trace that failed.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"(torch|onnxscript|onnx_ir)(\.|$)")
        # Raised while torch copies its own exported program, so it is put down to `copyreg`.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        for name in _EXPORTERS:
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        stack.enter_context(redirect_stderr(io.StringIO()))
        yield
