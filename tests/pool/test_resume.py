from __future__ import annotations

from pathlib import Path

import pytest

from rlprune.errors import RunError
from rlprune.pool.folder import RECORD_FILE, WEIGHTS_FILE
from rlprune.pool.jobs import Job
from rlprune.pool.resume import PoolWarning, finished
from tests.pool.conftest import WriteEntry


def test_a_pool_that_does_not_exist_has_nothing_finished(tmp_path: Path, jobs: list[Job]) -> None:
    assert finished(tmp_path / "pool", jobs) == {}


def test_networks_that_learned_and_networks_that_failed_are_finished(
    jobs: list[Job], write_entry: WriteEntry
) -> None:
    written = {0: write_entry(jobs[0]), 3: write_entry(jobs[3], failure="accuracy 0.3 is below")}
    pool = written[0].folder.parent
    assert finished(pool, jobs) == written
    assert finished(pool, jobs[:2]) == {0: written[0]}


@pytest.mark.parametrize("file", [RECORD_FILE, WEIGHTS_FILE, "model.dynamics.json"])
def test_a_damaged_network_is_named_and_counts_as_not_made(
    file: str, jobs: list[Job], write_entry: WriteEntry
) -> None:
    whole, broken = write_entry(jobs[0]), write_entry(jobs[1])
    (broken.folder / file).write_bytes((broken.folder / file).read_bytes()[:50])
    with pytest.warns(PoolWarning, match=f"{broken.name} is damaged"):
        assert finished(whole.folder.parent, jobs) == {0: whole}
    assert finished(write_entry(jobs[1]).folder.parent, jobs).keys() == {0, 1}


def test_other_settings_are_refused_with_what_differs(
    jobs: list[Job], write_entry: WriteEntry
) -> None:
    pool = write_entry(jobs[0]).folder.parent
    other = jobs[0].training.model_copy(update={"presented": 100})
    for change, message in (
        ({"training": other}, "presented was 24576, and is to be 100"),
        ({"seed": 7}, f"seed was {jobs[0].seed}, and is to be 7"),
        ({"spec": jobs[1].spec}, "network 0 is to be 0000-residual-digits-8"),
        ({"tag": "fashion-mnist-14"}, "network 0 is to be 0000-plain-fashion-mnist-14"),
    ):
        with pytest.raises(RunError, match=message):
            finished(pool, [jobs[0].model_copy(update=change)])
