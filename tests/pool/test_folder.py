from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from rlprune.errors import RunError
from rlprune.models import rebuild
from rlprune.pool.folder import RECORD_FILE, WEIGHTS_FILE, read
from rlprune.pool.jobs import Job
from tests.pool.conftest import WriteEntry

OUTPUT = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from rlprune.pool.folder import read
torch.set_num_threads(1)
entry = next(entry for entry in read(Path(sys.argv[1])) if entry.name == sys.argv[2])
images = torch.randn(5, *entry.record.job.input_shape, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    save_file({"outputs": entry.load().module(images)}, sys.argv[3])
"""


def outputs(module: nn.Module, job: Job) -> torch.Tensor:
    images = torch.randn(5, *job.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return module(images)


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no record": lambda folder: (folder / RECORD_FILE).unlink(),
    "half a record": lambda folder: (folder / RECORD_FILE).write_text('{"version": 1, "job"'),
    "a record of bytes": lambda folder: (folder / RECORD_FILE).write_bytes(b"\xff\xfe\x00"),
    "another version": lambda folder: rewrite(folder / RECORD_FILE, version=2),
    "no outcome": lambda folder: rewrite(folder / RECORD_FILE, weights=None),
    "an impossible accuracy": lambda folder: rewrite(folder / RECORD_FILE, accuracy=1.5),
    "no weights": lambda folder: (folder / WEIGHTS_FILE).unlink(),
    "no bytes": lambda folder: (folder / WEIGHTS_FILE).write_bytes(b""),
    "half the weights": lambda folder: (folder / WEIGHTS_FILE).write_bytes(
        (folder / WEIGHTS_FILE).read_bytes()[:2000]
    ),
    "another weight": lambda folder: flip_last_byte(folder / WEIGHTS_FILE),
    "no dynamics": lambda folder: (folder / "model.dynamics.json").unlink(),
    "half the dynamics": lambda folder: (folder / "model.dynamics.json").write_text('{"ver'),
}


def test_a_network_comes_back_bit_for_bit_in_another_process(
    jobs: list[Job],
    write_entry: WriteEntry,
    tmp_path: Path,
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    entry = write_entry(jobs[1])
    done = run_python(OUTPUT, entry.folder.parent, entry.name, tmp_path / "outputs.safetensors")
    assert done.stderr == ""
    recipe = entry.load().recipe
    with torch.random.fork_rng([]):
        torch.manual_seed(jobs[1].seed)
        original = rebuild(recipe).eval()
    expected = outputs(original, jobs[1])
    assert torch.equal(load_file(tmp_path / "outputs.safetensors")["outputs"], expected)
    assert torch.equal(outputs(entry.load().module, jobs[1]), expected)


def test_a_loaded_network_is_in_evaluation_mode_with_name_recipe_and_dynamics(
    jobs: list[Job], write_entry: WriteEntry
) -> None:
    loaded = write_entry(jobs[0]).load()
    assert loaded.name == "0000-plain-digits-8"
    assert not loaded.module.training
    assert loaded.dynamics is not None
    assert list(rebuild(loaded.recipe).state_dict()) == list(loaded.module.state_dict())


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_network_is_refused_by_name(
    damage: str, jobs: list[Job], write_entry: WriteEntry
) -> None:
    entry = write_entry(jobs[0])
    DAMAGE[damage](entry.folder)
    with pytest.raises(RunError, match="0000-plain-digits-8 is damaged"):
        read(entry.folder.parent)[0].load()


def test_dynamics_of_another_network_are_refused(jobs: list[Job], write_entry: WriteEntry) -> None:
    entry = write_entry(jobs[0])
    layer = {"weight": "nowhere", "shape": [3], "weights": {"stable_rank": 1.0}}
    rewrite(entry.folder / "model.dynamics.json", layers=[layer])
    with pytest.raises(RunError, match=r"0000-plain-digits-8 is damaged.*'nowhere'"):
        entry.load()


def test_a_folder_under_another_name_is_refused(jobs: list[Job], write_entry: WriteEntry) -> None:
    entry = write_entry(jobs[0])
    entry.folder.rename(entry.folder.with_name("0001-residual-digits-8"))
    with pytest.raises(RunError, match="0001-residual-digits-8 is damaged.*0000-plain-digits-8"):
        read(entry.folder.parent)


def test_networks_are_listed_by_number_and_half_written_ones_are_not_seen(
    jobs: list[Job], write_entry: WriteEntry
) -> None:
    far = jobs[1].model_copy(update={"number": 12345})
    for job in (far, jobs[2], jobs[0]):
        pool = write_entry(job).folder.parent
    (pool / ".0003-mlp-digits-8-x1y2").mkdir()
    (pool / "notes").mkdir()
    (pool / "0004-notes.txt").write_text("a file")
    assert [entry.record.job.number for entry in read(pool)] == [0, 2, 12345]


def test_a_failed_network_is_listed_with_its_reason_and_cannot_be_loaded(
    jobs: list[Job], write_entry: WriteEntry
) -> None:
    entry = write_entry(jobs[0], failure="accuracy 0.3000 is below 0.7")
    assert [path.name for path in entry.folder.iterdir()] == [RECORD_FILE]
    assert read(entry.folder.parent) == (entry,)
    with pytest.raises(RunError, match="0000-plain-digits-8 has no weights: accuracy 0.3000 is"):
        entry.load()


def test_a_folder_without_networks_is_no_pool(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="holds no networks; make some"):
            read(folder)
