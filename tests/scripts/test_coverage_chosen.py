"""Which networks a run measures: the coverage benchmark goes on where it stopped."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from coverage_checks import RUN
from coverage_models import QUICK
from coverage_report import CHECKS, Measured

DONE, PARTLY, REFUSED, NEW = QUICK


@pytest.fixture
def rows() -> dict[str, Measured]:
    ok = dict.fromkeys(CHECKS, "ok")
    found = [
        Measured(model=DONE, params_left=0.3, checks=ok),
        Measured(model=PARTLY, params_left=0.3, checks={"params": "ok"}),
        Measured(model=REFUSED, status="refused", reason="no"),
    ]
    return {row.model: row for row in found}


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({}, [PARTLY, NEW]),
        ({"checks": ("params",)}, [NEW]),
        ({"fresh": True}, list(QUICK)),
        ({"failed": True}, [REFUSED]),
        ({"only": ("torchvision:*",)}, [PARTLY]),
        ({"only": ("torchvision:*",), "fresh": True}, [DONE, PARTLY]),
    ],
)
def test_networks_are_measured_that_are_not_in_the_result_with_every_check(
    coverage_script: ModuleType,
    rows: dict[str, Measured],
    flags: dict[str, Any],
    names: list[str],
) -> None:
    settings = coverage_script.CoverageSettings(quick=True, **flags)
    assert coverage_script.chosen(settings, rows) == names


def test_every_check_that_can_be_chosen_can_be_made() -> None:
    assert tuple(RUN) == CHECKS
