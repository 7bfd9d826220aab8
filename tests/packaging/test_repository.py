"""The repository's files are fit for anybody's machine."""

from __future__ import annotations

import re
from pathlib import Path

# The folders in which this project was made, and a home folder; spelt so that this file is clean.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:{})/".format("|".join(("work", "root", r"home/\w+"))))


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # a weight file, a picture
        return ""


def test_no_file_mentions_a_path_of_the_machine_it_was_made_on(
    root: Path, checkout_modes: dict[str, str]
) -> None:
    files = [path for path, mode in checkout_modes.items() if mode != "120000"]
    hits = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in files
        for number, line in enumerate(text_of(root / path).splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert hits == []


def test_the_machine_path_pattern_finds_paths_and_spares_words() -> None:
    found = [f"cd {'/work'}/main", f"'{'/root'}/x'", f"file://{'/home'}/me/x"]
    spared = ["frame/work/x", "a /workspace/x", "~/root/x", "../home/me/x"]
    assert all(map(MACHINE_PATH.search, found))
    assert not any(map(MACHINE_PATH.search, spared))


def test_no_link_in_the_repository_is_broken_or_leaves_it(
    root: Path, checkout_modes: dict[str, str]
) -> None:
    links = [root / path for path, mode in checkout_modes.items() if (root / path).is_symlink()]
    assert links, "rlprune/envs and rlprune/agents should be links"
    assert all(link.resolve().is_relative_to(root) and link.exists() for link in links)
