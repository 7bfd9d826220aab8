from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def checkout_modes() -> dict[str, str]:
    """What git would commit: path -> mode, links (120000) included; `new` where git has no mode yet."""
    try:
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != ROOT:
            pytest.skip("the files lie inside another project's checkout")
        tracked = git("ls-files", "--stage", "-z").split("\0")
        untracked = git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"not a git checkout: {error.stderr.strip()}")
    modes = dict.fromkeys(filter(None, untracked), "new")
    for line in filter(None, tracked):
        entry, path = line.split("\t", 1)
        modes[path] = entry.split()[0]
    return {path: mode for path, mode in sorted(modes.items()) if (ROOT / path).exists()}
