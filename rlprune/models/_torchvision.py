"""The only door to torchvision, and to timm, which imports it: with this, both imports work.

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

from rlprune.errors import ModelError, first_line

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
    build = f"install the build that matches torch {torch.__version__}"
    return _import("torchvision", f"{build}: `pip install torchvision`")


def require_timm() -> ModuleType:
    """Return timm, or say how to get it."""
    return _import("timm", 'install it: `pip install "rlprune[timm]"`')


def _import(name: str, remedy: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(f"{name} cannot be imported ({first_line(error)}); {remedy}") from error
