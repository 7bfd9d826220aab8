"""The wheel holds exactly the checkout's rlprune/, envs/ and agents/, all inside `rlprune`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

LINKED = ("envs", "agents")


@pytest.fixture(scope="module")
def package_files(checkout_modes: dict[str, str]) -> set[str]:
    """The checkout's package files under the names that they have when installed."""
    files = {path for path, mode in checkout_modes.items() if mode != "120000"}
    inside = {path for path in files if path.startswith("rlprune/")}
    linked = {f"rlprune/{path}" for path in files if path.startswith(("envs/", "agents/"))}
    return inside | linked


@pytest.fixture(scope="module")
def wheel(
    root: Path, checkout_modes: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for path in checkout_modes:
        copy = folder / "checkout" / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, copy, follow_symlinks=False)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    run = subprocess.run(
        [*build, "--outdir", str(folder), str(folder / "checkout")], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    [built] = folder.glob("*.whl")
    return built


def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_package_file_and_no_other(
    wheel: Path, package_files: set[str]
) -> None:
    shipped = {name for name in wheel_names(wheel) if ".dist-info/" not in name}
    assert package_files - shipped == set(), "missing from the wheel"
    assert shipped - package_files == set(), "in the wheel, but not in the checkout"


def test_the_wheel_ships_the_type_marker_the_weights_and_the_licence(wheel: Path) -> None:
    names = {PurePosixPath(name) for name in wheel_names(wheel)}
    assert PurePosixPath("rlprune/py.typed") in names
    assert any(name.match("rlprune/models/weights/*.safetensors") for name in names)
    assert any(name.match("*.dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_provides_no_top_level_envs_or_agents(wheel: Path, tmp_path: Path) -> None:
    program = (
        "import sys, importlib.util as u; sys.path.insert(0, sys.argv[1]); "
        "print([n for n in ('rlprune', 'envs', 'agents') if u.find_spec(n)])"
    )
    isolated = [sys.executable, "-I", "-S", "-c", program, str(wheel)]
    found = subprocess.run(isolated, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert found.stdout.strip() == "['rlprune']"


@pytest.mark.parametrize("name", LINKED)
def test_the_linked_packages_are_symbolic_links_in_git(
    name: str, root: Path, checkout_modes: dict[str, str]
) -> None:
    assert checkout_modes[f"rlprune/{name}"] == "120000"
    assert (root / "rlprune" / name).readlink() == Path("..", name)


def test_pyproject_lists_every_package_folder_and_no_other(
    root: Path, package_files: set[str]
) -> None:
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {PurePosixPath(path).parent for path in package_files if path.endswith(".py")}
    assert sorted(listed) == sorted(".".join(folder.parts) for folder in folders)
    initialised = {f"{folder}/__init__.py" for folder in folders}
    assert initialised <= package_files, "a package folder lacks its __init__.py"
