"""A process that measures one network: its end, and the parent's end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coverage_report import CHECKS, Measured, Status

ALONE_PATIENCE = 4  # times the time limit, for networks that run alone


class Progress:
    """Tells the parent process, line by line, which step begins and what was found."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._step, self._start = "", time.perf_counter()

    def begin(self, step: str) -> None:
        """Begin a step; it may take the time limit from now on."""
        now = time.perf_counter()
        found = {"seconds": {self._step: round(now - self._start, 2)}} if self._step else {}
        self._step, self._start = step, now
        self.tell(step=step, **found)

    def tell(self, **found: Any) -> None:
        """Tell some fields of `Measured`; entries of dicts and lists are added to those told."""
        with self._path.open("a") as file:
            file.write(json.dumps(found) + "\n")


def entry(*arguments: str) -> list[str]:
    """Return the command that runs an entry of this benchmark in a process of its own."""
    script = Path(__file__).resolve().with_name("coverage.py")
    return [sys.executable, "-W", "ignore", str(script), *arguments]


@dataclass
class Job:
    """A network that is being measured.

    Attributes:
        spec: of the architecture.
        alone: whether nothing else runs beside it.
        checks: to make.
        timeout: seconds that a step may take.
        export_timeout: seconds that an export may take.
        folder: where its process writes.
        found: what was told so far.
        step: that it is at.
        lines: that were read so far.
    """

    spec: str
    alone: bool
    checks: tuple[str, ...]
    timeout: float
    export_timeout: float
    folder: Path
    found: dict[str, Any] = field(default_factory=dict)
    step: str = "start"
    lines: int = 0

    def __post_init__(self) -> None:
        self._told = self.folder / "told"
        self._told.touch()
        mode = "alone" if self.alone else "beside"
        self.process = subprocess.Popen(
            entry("case", self.spec, str(self._told), ",".join(self.checks), mode),
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("w"),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self.began = self.step_began = time.monotonic()

    @property
    def deferred(self) -> bool:
        """Whether the network is too large to run beside others."""
        return bool(self.found.get("deferred"))

    def poll(self) -> bool:
        """Read what is new, and return whether the network is done."""
        ended = self.process.poll() is not None
        for line in self._told.read_text().splitlines()[self.lines :]:
            self.lines += 1
            told = json.loads(line)
            if "step" in told:
                self.step, self.step_began = told.pop("step"), time.monotonic()
            merge(self.found, told)
        if ended:
            self._end()
        elif time.monotonic() - self.step_began > self._limit:
            self.kill()
            self._stopped("hang", f"more than {self._limit:.0f} s")
            return True
        return ended

    def kill(self) -> None:
        """End the process and those that it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def row(self) -> Measured:
        """Return what was found."""
        merge(self.found, {"seconds": {"total": round(time.monotonic() - self.began, 1)}})
        return Measured(model=self.spec, **self.found)

    @property
    def _limit(self) -> float:
        seconds = self.export_timeout if "onnx" in self.step else self.timeout
        return seconds * (ALONE_PATIENCE if self.alone else 1)

    def _end(self) -> None:
        code = self.process.returncode
        if code:
            lines = (self.folder / "stderr").read_text().strip().splitlines()
            log = [line for line in lines if not line.startswith("  File")]
            merge(self.found, {"log": log[-12:]})
            died = f"signal {-code}" if code < 0 else (lines or ["no message"])[-1]
            self._stopped("crash", died)

    def _stopped(self, status: Status, why: str) -> None:
        missing = set(self.checks) - set(self.found.get("checks", ()))
        merge(self.found, blamed(self.step, status, why, missing))


def merge(found: dict[str, Any], news: dict[str, Any]) -> None:
    """Add what was told; entries of dicts and lists are added to those there are."""
    for key, value in news.items():
        if isinstance(value, dict):
            found[key] = found.get(key, {}) | value
        elif isinstance(value, list):
            found[key] = found.get(key, []) + value
        else:
            found[key] = value


def blamed(step: str, status: Status, why: str, missing: Collection[str]) -> dict[str, Any]:
    """Return what a network's process that stopped in a step has told.

    A check that stopped fails alone, with those after it; any other step stops everything.
    """
    check = step.split()[0]
    if check not in CHECKS:
        return {"status": status, "reason": f"{step}: {why}"}
    not_reached = {c: "FAIL: not reached" for c in sorted(missing) if c != check}
    return {"checks": {check: f"FAIL: {status} in {step}: {why}"} | not_reached}
