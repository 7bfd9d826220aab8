"""Scripts import one another by name, as they do when one of them runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

sys.path.append(str(SCRIPTS))  # last: coverage.py is not to hide the package of that name


@pytest.fixture(scope="session")
def coverage_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_script", SCRIPTS / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["coverage_script"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
