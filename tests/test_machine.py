"""What a machine has is asked for, and what it does not have is refused."""

from __future__ import annotations

import platform

import pytest

from rlprune.errors import RLPruneError
from rlprune.machine import check_threads, cores, keep_freed_memory


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlprune.machine.cores", lambda: 2)


@pytest.mark.parametrize(
    ("threads", "workers", "message"),
    [
        (0, 1, "type --workers 1 --threads 1, or more"),
        (1, -2, "type --workers 1 --threads 1, or more"),
        (3, 1, "has 2 cores, too few for 3 threads; type --threads 2 or less"),
        (1, 3, "3 workers of 1 threads need 3 cores and this machine has 2; type --workers 2"),
        (2, 2, "2 workers of 2 threads need 4 cores and this machine has 2; type --workers 1"),
    ],
)
@pytest.mark.usefixtures("two_cores")
def test_more_than_the_machine_has_is_refused(threads: int, workers: int, message: str) -> None:
    with pytest.raises(RLPruneError, match=message):
        check_threads(threads, workers)


@pytest.mark.usefixtures("two_cores")
def test_what_the_machine_has_is_not() -> None:
    for threads, workers in ((1, 1), (2, 1), (1, 2)):
        check_threads(threads, workers)


def test_there_is_a_core() -> None:
    assert cores() >= 1


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", refuse)
    keep_freed_memory.__wrapped__()
