"""Imports go one way: the library, the environment, the agents, then the two composition roots."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOTS = {"api.py", "cli.py", "__main__.py", "__init__.py"}
FORBIDDEN = {
    "rlprune": ("rlprune.envs", "rlprune.agents", "rlprune.api", "rlprune.cli"),
    "envs": ("rlprune.agents", "rlprune.api", "rlprune.cli"),
    "agents": ("rlprune.api", "rlprune.cli"),
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_module_imports_what_stands_above_it(root: Path, folder: str) -> None:
    top = root / folder
    # The links rlprune/envs and rlprune/agents lead to folders with rules of their own.
    files = [
        path
        for path in top.rglob("*.py")
        if not (folder == "rlprune" and path.relative_to(top).parts[0] in {"envs", "agents"})
        and not (folder == "rlprune" and path.parent == top and path.name in ROOTS)
    ]
    assert len(files) > 3
    wrong = {
        str(path.relative_to(root)): sorted(names)
        for path in files
        if (names := {n for n in imported(path) if n.startswith(FORBIDDEN[folder])})
    }
    assert wrong == {}
