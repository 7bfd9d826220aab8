from __future__ import annotations

from pathlib import Path

import make_pool
import pytest
import train_dense
from make_pool import Options

from rlprune.data import DataSplits
from rlprune.dynamics.record import scalars
from rlprune.errors import DynamicsError, RLPruneError, RunError
from rlprune.machine import cores
from rlprune.pool.folder import RECORD_FILE, Entry, read
from rlprune.problem import Problem


def options(out: Path, **changes: object) -> Options:
    """Two networks that see digits once and learn enough."""
    quick = Options(
        out=out,
        networks=2,
        data=("digits",),
        families=("mlp", "plain"),
        presented=1200,
        least_accuracy=0.15,
    )
    return Options.model_validate(quick.model_dump() | changes)


def contents(pool: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in sorted(pool.rglob("*")) if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def indicators(entry: Entry) -> dict[str, float]:
    dynamics = entry.content().dynamics
    return dict(scalars(dynamics.layers, dynamics.trajectory, dynamics.data))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been trained, in order."""
    names: list[str] = []

    def train(model: str, *arguments: object, **named: object) -> train_dense.Result:
        names.append(model)
        return train_dense.train(model, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(make_pool, "train", train)
    return names


def test_a_pool_goes_on_without_repeating_or_changing_anything(
    tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str], digits: DataSplits
) -> None:
    pool = tmp_path / "pool"
    make_pool.main(options(pool))
    assert len(trained) == 2
    entries = read(pool)
    assert [entry.name for entry in entries] == ["0000-mlp-digits-8", "0001-plain-digits-8"]
    before = contents(pool)

    make_pool.main(options(pool))
    assert len(trained) == 2
    assert contents(pool) == before

    make_pool.main(options(pool, networks=3))
    assert len(trained) == 3
    after = contents(pool)
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)
    printed = capsys.readouterr().out
    assert "2 of 3 networks are there" in printed
    assert "mlp on digits-8: 2 of 2 learned, accuracy " in printed

    loaded = entries[1].load()
    assert loaded.dynamics is not None
    assert loaded.dynamics.watched
    problem = Problem.build(loaded, digits, "macs=0.5")
    assert problem.evaluate(problem.reference.plan).macs <= 0.5 * problem.graph.macs()


def test_the_same_network_is_made_again_where_one_is_damaged(
    tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool"
    make_pool.main(options(pool))
    weights = pool / "0000-mlp-digits-8" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    make_pool.main(options(pool))
    assert len(trained) == 3
    assert weights.read_bytes() == whole
    assert "0000-mlp-digits-8 is damaged" in capsys.readouterr().err


def test_networks_that_do_not_learn_are_recorded_and_not_tried_again(
    tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool"
    for _ in range(2):
        make_pool.main(options(pool, networks=1, least_accuracy=1.0))
    assert len(trained) == 1
    (entry,) = read(pool)
    assert entry.record.accuracy is not None
    assert entry.record.accuracy < 1
    assert str(entry.record.failure).endswith("is below 1")
    assert [path.name for path in entry.folder.iterdir()] == [RECORD_FILE]
    assert "mlp on digits-8: 0 of 1 learned" in capsys.readouterr().out


def test_a_training_that_diverges_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*arguments: object, **named: object) -> train_dense.Result:
        raise DynamicsError("its training has diverged")

    monkeypatch.setattr(make_pool, "train", diverge)
    make_pool.main(options(tmp_path, networks=1))
    (entry,) = read(tmp_path)
    assert entry.record.accuracy is None
    assert entry.record.failure == "its training has diverged"


def test_nothing_is_begun_when_the_time_is_over(
    tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    make_pool.main(options(tmp_path, minutes=1e-9))
    assert trained == []
    assert "2 networks are missing; the same command goes on" in capsys.readouterr().out


def test_a_pool_is_not_mixed_with_one_of_other_settings(tmp_path: Path, trained: list[str]) -> None:
    make_pool.main(options(tmp_path, networks=1))
    for changes, message in (
        ({"presented": 2500}, "presented was 1200, and is to be 2500"),
        ({"seed": 1}, r"spec was .*, and is to be "),
        ({"families": ("plain",)}, "network 0 is to be 0000-plain-digits-8"),
    ):
        with pytest.raises(RunError, match=message):
            make_pool.main(options(tmp_path, **changes))
    assert len(trained) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": ("mlp", "resnet")}, "unknown family 'resnet'"),
        ({"families": ("mlp", "mlp")}, "--families mlp mlp names one twice"),
        ({"data": ("digits", "digits")}, "--data digits digits names one twice"),
        ({"data": ("digitz",)}, "unknown data 'digitz'"),
        ({"threads": 1000}, "too few for 1000 threads"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RLPruneError, match=message):
        make_pool.main(options(tmp_path / "pool", **changes))
    assert not (tmp_path / "pool").exists()


@pytest.mark.slow
@pytest.mark.skipif(cores() < 2, reason="two workers need two cores")
def test_two_workers_make_the_networks_of_one(tmp_path: Path) -> None:
    for workers in (1, 2):
        changes = {"networks": 4, "workers": workers, "least_accuracy": 0}
        make_pool.main(options(tmp_path / str(workers), **changes))
    pairs = zip(read(tmp_path / "1"), read(tmp_path / "2"), strict=True)
    for one, two in pairs:
        assert one.record.weights == two.record.weights
        assert indicators(one) == pytest.approx(indicators(two), rel=1e-4)
