from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def checkout_modes() -> dict[str, str]:
    """What git would commit now: path -> mode; 120000 is a symbolic link."""
    try:
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != ROOT:
            pytest.skip("the files lie inside another project's checkout")
        tracked = git("ls-files", "--stage", "-z").split("\0")
        untracked = git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"not a git checkout: {error.stderr.strip()}")
    modes = {
        path: "120000" if (ROOT / path).is_symlink() else "100644"
        for path in filter(None, untracked)
    }
    for line in filter(None, tracked):
        entry, path = line.split("\t", 1)
        modes[path] = entry.split()[0]
    return {path: mode for path, mode in sorted(modes.items()) if os.path.lexists(ROOT / path)}
