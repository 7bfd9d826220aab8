"""What the parent process makes of what a network's process told before it stopped."""

from __future__ import annotations

import json
from pathlib import Path

from coverage_job import Progress, blamed, merge


def test_later_news_are_added_to_earlier_ones() -> None:
    found = {"checks": {"params": "ok"}, "log": ["a"], "params": 1}
    merge(found, {"checks": {"macs": "ok"}, "log": ["b"], "params": 2, "seconds": {"build": 1.0}})
    assert found == {
        "checks": {"params": "ok", "macs": "ok"},
        "log": ["a", "b"],
        "params": 2,
        "seconds": {"build": 1.0},
    }


def test_a_check_that_hangs_fails_alone_and_the_others_are_not_reached() -> None:
    assert blamed("onnx", "hang", "more than 9 s", {"onnx", "macs", "batch"}) == {
        "checks": {
            "onnx": "FAIL: hang in onnx: more than 9 s",
            "batch": "FAIL: not reached",
            "macs": "FAIL: not reached",
        }
    }


def test_a_longer_name_of_a_step_still_blames_its_check() -> None:
    step = "onnx of the dense network"
    assert blamed(step, "crash", "signal 9", ()) == {
        "checks": {"onnx": "FAIL: crash in onnx of the dense network: signal 9"}
    }


def test_a_network_that_stops_before_the_checks_has_another_status() -> None:
    found = blamed("trace", "crash", "signal 9", {"params"})
    assert found == {"status": "crash", "reason": "trace: signal 9"}


def test_progress_tells_the_seconds_of_the_step_before(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "told")
    progress.begin("build")
    progress.tell(params=3)
    progress.begin("trace")
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert told[:2] == [{"step": "build"}, {"params": 3}]
    assert told[2]["step"] == "trace"
    assert list(told[2]["seconds"]) == ["build"]
