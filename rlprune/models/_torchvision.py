"""The only door to torchvision: importing this module makes ``import torchvision`` work.

torchvision registers fake kernels for its compiled operators while it is imported. Beside a torch
that cannot load those operators (a CPU-only torch with a torchvision wheel made for another build)
that fails, although nothing here needs the operators. Declaring the two that are looked up
unconditionally is enough; a torchvision whose operators load is left alone.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

from rlprune.errors import ModelError

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")


def _operators_load(package: Path) -> bool:
    """Whether torchvision's compiled operators can be loaded into this torch."""
    for library in sorted(package.glob("_C*.so")) + sorted(package.glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        except OSError:
            return False
        return hasattr(torch.ops.torchvision, "nms")
    return False


def _declare_missing_operators() -> torch.library.Library | None:
    """Declare the operators that torchvision looks up, where its own cannot be loaded."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or hasattr(torch.ops.torchvision, "nms"):
        return None
    if _operators_load(Path(spec.origin).parent):
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in _OPERATORS:
        library.define(name + _SIGNATURE)  # type: ignore[no-untyped-call]
    return library


# The declarations vanish with the library object, so it lives as long as this module.
_LIBRARY = _declare_missing_operators()


def require_torchvision() -> ModuleType:
    """Return torchvision, or say how to get it."""
    try:
        return importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"torchvision cannot be imported ({reason}); install the build that matches torch "
            f"{torch.__version__}: `pip install torchvision`"
        ) from error
