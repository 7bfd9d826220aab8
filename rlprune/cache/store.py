"""Small results as files, one each, shared by all processes of a user and bounded in size."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from platformdirs import user_cache_path

from rlprune.errors import CacheError
from rlprune.files import write_text

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""What can be stored; sequences come back as lists."""

MAX_BYTES = 32 * 2**20

_SCHEMA = 1

# Entries, and what `write_text` stages. Nothing else in the folder is ever removed: it may be one
# that the user keeps other files in.
_OURS = re.compile(r"rlprune-[0-9a-f]{32}\.json|\.rlprune-[0-9a-f]{32}\.json-\w+")


class CacheWarning(UserWarning):
    """Stored results cannot be used or kept; everything still works, but is measured again."""


class Store:
    """Results on disk, found by a kind and a key, used least recently gone first.

    Processes may share a folder: a reader finds a whole entry or none, and of two writers of one
    key the last wins. Entries of another version of rlprune are passed over.

    Args:
        folder: where the files lie, made when something is stored; the user's cache folder by
            default, which `XDG_CACHE_HOME` moves.
        max_bytes: how much the files may take together.

    Raises:
        CacheError: if `folder` is a file.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        if folder is not None and os.path.exists(folder) and not os.path.isdir(folder):
            raise CacheError(f"the cache {folder} is a file; give a folder, or one that is new")
        self.folder = user_cache_path("rlprune", appauthor=False) if folder is None else folder
        self._max_bytes = max_bytes
        self._version = version("rlprune")
        self._writes = True

    def get(self, kind: str, key: str) -> Any:
        """Return the value stored last, or None where there is none that can be believed.

        A damaged entry is removed with a `CacheWarning`.
        """
        path = self._path(kind, key)
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError:
            return self._drop(path, "it is not text")
        except OSError as error:
            _warn(f"cannot read the stored result {path} ({error.strerror}); it is measured again")
            return None
        entry = _parsed(text)
        if entry is None:
            return self._drop(path, "it is not a JSON object")
        if entry.get("rlprune") != self._version and isinstance(entry.get("rlprune"), str):
            return None
        if entry != self._entry(kind, key, entry.get("value")):
            return self._drop(path, "it is of another format or belongs to another result")
        with suppress(OSError):  # gone by now, or a folder that may only be read
            os.utime(path)
        return entry["value"]

    def put(self, kind: str, key: str, value: Json) -> None:
        """Store a value, then remove the entries used least recently until all fit.

        A value larger than the whole store is not kept. A folder that cannot be written to costs
        one `CacheWarning`, after which nothing is kept.

        Args:
            kind: what was measured, such as `sensitivity`.
            key: what it was measured on, a digest of `rlprune.cache.fingerprint`.
            value: finite numbers, texts, and lists and dicts of them with texts as keys.

        Raises:
            ValueError: if a number is infinite or not a number.
        """
        text = json.dumps(self._entry(kind, key, value), allow_nan=False)
        if not self._writes or len(text) > self._max_bytes:
            return
        try:
            write_text(self._path(kind, key), text)
        except FileNotFoundError:  # removed while it was written, to make room for others
            return
        except OSError as error:
            self._writes = False
            _warn(
                f"cannot write to the cache {self.folder} ({error.strerror}); results are not "
                "kept and measured again next time"
            )
            return
        self._make_room()

    def _path(self, kind: str, key: str) -> Path:
        digest = hashlib.blake2b(json.dumps([kind, key]).encode(), digest_size=16).hexdigest()
        return self.folder / f"rlprune-{digest}.json"

    def _entry(self, kind: str, key: str, value: Json) -> dict[str, Json]:
        return {
            "schema": _SCHEMA,
            "rlprune": self._version,
            "kind": kind,
            "key": key,
            "value": value,
        }

    def _drop(self, path: Path, reason: str) -> None:
        with suppress(OSError):
            path.unlink()
        _warn(f"ignored the stored result {path}: {reason}; it is measured again")

    def _make_room(self) -> None:
        files = _files(self.folder)
        total = sum(size for _, _, size in files)
        for _, path, size in sorted(files):
            if total <= self._max_bytes:
                return
            with suppress(OSError):  # another process was faster
                path.unlink()
            total -= size


class NoStore(Store):
    """Keeps nothing: for those who want everything measured."""

    def get(self, kind: str, key: str) -> None:
        """Return None."""

    def put(self, kind: str, key: str, value: Json) -> None:
        """Do nothing."""


def _files(folder: Path) -> list[tuple[int, Path, int]]:
    """List `(time of last use in ns, path, bytes)` of everything that a store wrote."""
    found = []
    with suppress(OSError):  # the whole folder was removed, or may not be listed
        for path in folder.iterdir():
            if _OURS.fullmatch(path.name):
                with suppress(OSError):
                    status = path.stat()
                    found.append((status.st_mtime_ns, path, status.st_size))
    return found


def _parsed(text: str) -> dict[str, Any] | None:
    """Return a JSON object, or None where the text is something else."""
    try:
        entry = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _warn(message: str) -> None:
    warnings.warn(message, CacheWarning, stacklevel=3)
