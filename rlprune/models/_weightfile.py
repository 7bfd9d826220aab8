"""Weight files: those of the user and those that ship with the package."""

from __future__ import annotations

import pickle
import struct
from importlib import resources
from pathlib import Path
from typing import cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from rlprune.dynamics import storage as dynamics
from rlprune.dynamics.record import Dynamics
from rlprune.errors import ModelError, first_line

_SUFFIX = ".safetensors"
_TORCH_SUFFIXES = (".pth", ".pt")
_WRAPPER_KEY = "state_dict"


def read(path: Path) -> dict[str, Tensor]:
    """Read a state dict, without running any code that the file may hold."""
    if path.suffix not in (_SUFFIX, *_TORCH_SUFFIXES):
        raise ModelError(
            f"{path} has none of the endings {_SUFFIX}, {', '.join(_TORCH_SUFFIXES)}; give "
            "`--weights FILE` with one of them"
        )
    if not path.is_file():
        raise ModelError(f"there is no file {path}; give `--weights FILE` that exists")
    try:
        content: object = (
            safetensors.torch.load_file(path)
            if path.suffix == _SUFFIX
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except _UNREADABLE as error:
        raise ModelError(
            f"{path} cannot be read ({first_line(error)}); save the weights again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get(_WRAPPER_KEY), dict):
        content = content[_WRAPPER_KEY]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(f"{path} holds no state dict; save `model.state_dict()`")
    return cast(dict[str, Tensor], content)


# What safetensors and torch.load(weights_only=True) raise on damaged files.
_UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    struct.error,
)


def fill(module: nn.Module, state: dict[str, Tensor], *, source: str) -> None:
    """Load a state dict that must match the module exactly; half precision is widened."""
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    for names, what in ((missing, "lacks"), (unexpected, "has, and the model has not,")):
        if names:
            raise ModelError(
                f"{source} {what} {names[0]!r} ({len(names)} such weights); give weights of the "
                "same architecture"
            )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ModelError(
                f"{source}: {name!r} is {_shape(value)} and the model's is {_shape(own[name])}; "
                "give weights of the same architecture, channels and classes"
            )
    module.load_state_dict(state)


def read_shipped(model: str, tag: str) -> dict[str, Tensor] | None:
    """Read the weights that ship for a model and a task, if there are any."""
    file = resources.files("rlprune.models").joinpath("weights", f"{model}_{tag}{_SUFFIX}")
    return safetensors.torch.load(file.read_bytes()) if file.is_file() else None


def read_dynamics_beside(path: Path | None, model: str, tag: str) -> Dynamics | None:
    """Read the dynamics record beside a weights file, if there is one.

    Args:
        path: the weights file; None where the weights ship with the package.
        model: name of the model.
        tag: of the task.

    Raises:
        DynamicsError: if the record is damaged.
    """
    if path is not None:
        record = dynamics.beside(path)
        return dynamics.read_dynamics(record) if record.is_file() else None
    name = f"{model}_{tag}{dynamics.SUFFIX}"
    file = resources.files("rlprune.models").joinpath("weights", name)
    return dynamics.parse(file.read_text(encoding="utf-8"), name) if file.is_file() else None


def shipped() -> list[str]:
    """Which weights ship, as ``model on task``."""
    folder = resources.files("rlprune.models").joinpath("weights")
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    return [
        name.removesuffix(_SUFFIX).rsplit("_", 1)[0]
        + " on "
        + name.removesuffix(_SUFFIX).rsplit("_", 1)[1]
        for name in sorted(names)
        if name.endswith(_SUFFIX)
    ]


def _shape(value: Tensor) -> str:
    return "x".join(str(size) for size in value.shape) or "a number"
