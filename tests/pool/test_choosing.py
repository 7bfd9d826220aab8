from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlprune.errors import RunError, UnknownNameError
from rlprune.pool.choosing import Names, split
from rlprune.pool.folder import Entry, Record
from rlprune.pool.jobs import BriefTraining, PoolPlan
from rlprune.pool.specs import DEPTHS
from tests.pool.conftest import DIGITS, FASHION

FAMILIES = ("plain", "residual", "mlp")


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, ...]:
    """Records alone: nothing is read from disk here; the last network failed."""
    plan = PoolPlan(FAMILIES, (DIGITS, FASHION), 0, BriefTraining())
    folder, made = tmp_path_factory.mktemp("pool"), []
    for number in range(25):
        failure = "accuracy 0.1000 is below 0.7" if number == 24 else None
        record = Record(
            job=plan.job(number),
            accuracy=0.9,
            failure=failure,
            cpu_seconds=1.0,
            weights=None if failure else "digest",
        )
        made.append(Entry(folder / record.job.name, record))
    return tuple(made)


def families(some: tuple[Entry, ...]) -> set[str]:
    return {entry.record.job.spec.family for entry in some}


@settings(max_examples=50)
@given(data=st.data())
def test_parts_are_disjoint_complete_and_by_name(
    entries: tuple[Entry, ...], data: st.DataObject
) -> None:
    held_out = Names(
        families=tuple(data.draw(st.sets(st.sampled_from(FAMILIES), max_size=2))),
        data=tuple(data.draw(st.sets(st.sampled_from(("digits", "fashion-mnist-14")), max_size=1))),
        depths=tuple(data.draw(st.sets(st.sampled_from([*DEPTHS]), max_size=1))),
    )
    try:
        parts = split(entries, held_out)
    except RunError:
        return
    training, apart = ({entry.name for entry in part} for part in (parts.training, parts.held_out))
    assert not training & apart
    assert training | apart == {entry.name for entry in entries[:-1]}
    for entry in parts.training:
        job = entry.record.job
        assert job.spec.family not in held_out.families
        assert job.data not in held_out.data
        assert job.spec.depth_name not in held_out.depths
    for entry in parts.held_out:
        job = entry.record.job
        assert (
            job.spec.family in held_out.families
            or job.data in held_out.data
            or job.spec.depth_name in held_out.depths
        )


def test_a_family_can_be_held_out(entries: tuple[Entry, ...]) -> None:
    parts = split(entries, Names(families=("residual",)))
    assert families(parts.training) == {"plain", "mlp"}
    assert families(parts.held_out) == {"residual"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (Names(families=("vgg",)), "unknown family 'vgg'.*plain, residual, mlp"),
        (Names(data=("fashion-mnist",)), "unknown data 'fashion-mnist'.*'fashion-mnist-14'"),
        (Names(depths=("flat",)), "unknown depth 'flat'.*shallow, medium, deep"),
    ],
)
def test_a_name_that_no_network_has_is_refused(
    entries: tuple[Entry, ...], names: Names, message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        split(entries, names)


def test_holding_out_everything_is_refused(entries: tuple[Entry, ...]) -> None:
    with pytest.raises(RunError, match="25 networks are in the pool, 24 that learned are held out"):
        split(entries, Names(families=FAMILIES))
