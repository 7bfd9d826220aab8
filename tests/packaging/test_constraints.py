"""constraints.txt is one complete, portable set of versions for `.[dev]`."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# GPU builds of torch bring these, and pin them exactly themselves.
WITH_GPU_TORCH = ("nvidia-", "cuda-", "triton")


@pytest.fixture(scope="module")
def lines(root: Path) -> list[str]:
    return (root / "constraints.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def pins(lines: list[str]) -> dict[str, str]:
    """Normalised name -> version."""
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


@pytest.fixture(scope="module")
def declared(root: Path) -> list[Requirement]:
    """The requirements of `.[dev]` in pyproject.toml, with those of the extras that it names."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    pending = [Requirement(text) for text in (*project["dependencies"], *extras["dev"])]
    found: list[Requirement] = []
    while pending:
        needed = pending.pop()
        if needed.name == project["name"]:
            pending += [Requirement(text) for extra in needed.extras for text in extras[extra]]
        else:
            found.append(needed)
    return found


def installed_closure(requirements: list[Requirement]) -> set[str]:
    """Everything that installing the requirements brings, by the installed packages' metadata."""
    pending = [(canonicalize_name(r.name), frozenset(r.extras)) for r in requirements]
    seen = set(pending)
    while pending:
        name, extras = pending.pop()
        for needed in map(Requirement, requires(name) or []):
            marker = needed.marker
            if marker and not any(marker.evaluate({"extra": e}) for e in extras | {""}):
                continue
            found = (canonicalize_name(needed.name), frozenset(needed.extras))
            if found not in seen and not found[0].startswith(WITH_GPU_TORCH):
                seen.add(found)
                pending.append(found)
    return {name for name, _ in seen}


def test_every_line_is_one_name_and_one_public_version_in_order(lines: list[str]) -> None:
    shape = re.compile(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*")
    assert [line for line in lines if not shape.fullmatch(line)] == []
    names = [line.split("==")[0].lower() for line in lines]
    assert names == sorted(set(names))


def test_every_declared_dependency_has_a_pin_that_it_allows(
    declared: list[Requirement], pins: dict[str, str]
) -> None:
    unpinned = [r.name for r in declared if canonicalize_name(r.name) not in pins]
    assert unpinned == []
    refused = [str(r) for r in declared if pins[canonicalize_name(r.name)] not in r.specifier]
    assert refused == []


def test_the_pins_are_all_that_the_dependencies_bring_and_no_more(
    declared: list[Requirement], pins: dict[str, str]
) -> None:
    try:
        brought = installed_closure(declared)
    except PackageNotFoundError as error:
        pytest.skip(f"`.[dev]` is not fully installed: {error}")
    assert brought - set(pins) == set(), "not pinned"
    assert set(pins) - brought == set(), "pinned, but nothing needs it"
