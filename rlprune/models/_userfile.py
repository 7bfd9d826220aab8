"""Load ``path/to/file.py:name``: the user's own models and data."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import cast

from rlprune.errors import RLPruneError, UnknownNameError

_loaded: dict[Path, tuple[bytes, ModuleType]] = {}


def is_user_file(spec: str) -> bool:
    """Whether what the user typed points into a Python file."""
    path, _, _ = spec.rpartition(":")
    return path.endswith(".py") or spec.endswith(".py")


def call_factory(spec: str, error: type[RLPruneError]) -> object:
    """Call the function that ``path/to/file.py:name`` points to, without arguments.

    Args:
        spec: What the user typed.
        error: The class of the error to raise when anything goes wrong.
    """
    path, _, name = spec.rpartition(":")
    if not path or not name:
        raise error(f"{spec!r} names no function; type path/to/file.py:factory")
    if not Path(path).is_file():
        raise error(f"there is no file {path!r}; type path/to/file.py:factory")
    with importable(Path(path).resolve().parent), user_code(spec, error):
        factory = _attribute(load_file(Path(path)), name, path, error)
        return factory()


@contextmanager
def user_code(what: str, error: type[RLPruneError]) -> Iterator[None]:
    """Turn whatever the user's code raises into one line of this package's errors."""
    try:
        yield
    except RLPruneError:
        raise
    # The user's code may raise anything, and all of it is the user's to read.
    except Exception as cause:
        lines = str(cause).strip().splitlines()
        reason = f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
        raise error(f"{what} failed with {reason}") from cause


def loaded_files() -> list[Path]:
    """Return the files that this process has loaded, in their order."""
    return list(_loaded)


def load_file(path: Path) -> ModuleType:
    """Run a user's file as a module, which has the same name in every process.

    A file that has not changed is not run again: what it defines could not be pickled otherwise.
    """
    path = path.resolve()
    source = path.read_bytes()
    if path in _loaded and _loaded[path][0] == source:
        return _loaded[path][1]
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"_rlprune_user_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling of what the file defines look the module up here.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    _loaded[path] = source, module
    return module


def _attribute(
    module: ModuleType, name: str, path: str, error: type[RLPruneError]
) -> Callable[[], object]:
    if not hasattr(module, name):
        public = [key for key, value in vars(module).items() if _is_own(module, key, value)]
        raise UnknownNameError(f"function in {path}", name, public or ["none is defined there"])
    found: object = getattr(module, name)
    if not callable(found):
        raise error(
            f"{path}:{name} is of type {type(found).__name__}, not a function; name a function or "
            "class that takes no arguments"
        )
    return cast(Callable[[], object], found)


def _is_own(module: ModuleType, key: str, value: object) -> bool:
    own = getattr(value, "__module__", None) == module.__name__
    return callable(value) and own and not key.startswith("_")


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let the file import its neighbours, as it could if it were run as a script."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)
