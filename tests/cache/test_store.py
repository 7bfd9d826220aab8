from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlprune.cache.store import CacheWarning, NoStore, Store
from rlprune.errors import CacheError, RLPruneError

KIND, KEY = "sensitivity", "0123abcd"

plain = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
finite = plain.filter(lambda value: value not in (float("inf"), float("-inf")))
json_values = st.recursive(
    finite, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("shared"))


def the_file(store: Store) -> Path:
    [path] = store.folder.iterdir()
    return path


def total_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def put_at(store: Store, key: str, second: int, value: str = "x" * 100) -> Path:
    """Store an entry as if it had been used last at `second`."""
    before = set(store.folder.iterdir()) if store.folder.exists() else set()
    store.put(KIND, key, value)
    [path] = set(store.folder.iterdir()) - before
    os.utime(path, (second, second))
    return path


def test_what_was_put_is_got_by_another_store_of_the_same_folder(store: Store) -> None:
    value = {"scores": [0.1, 2, -0.0], "name": "Überschuß", "flags": [True, None]}
    store.put(KIND, KEY, value)
    assert Store(store.folder).get(KIND, KEY) == value


def test_nothing_is_got_before_anything_was_put_and_asking_makes_no_folder(store: Store) -> None:
    assert store.get(KIND, KEY) is None
    assert not store.folder.exists()


def test_kind_and_key_both_tell_entries_apart(store: Store) -> None:
    store.put("a", "bc", 1)
    store.put("ab", "c", 2)
    store.put("a", "c", 3)
    assert [store.get("a", "bc"), store.get("ab", "c"), store.get("a", "c")] == [1, 2, 3]
    assert store.get("ab", "bc") is None


def test_the_last_value_of_a_key_wins(store: Store) -> None:
    for value in ([1.0], [2.0, 3.0], []):
        store.put(KIND, KEY, value)
        assert store.get(KIND, KEY) == value
    assert the_file(store)


@given(json_values)
def test_every_json_value_comes_back_as_it_was(shared: Store, value: object) -> None:
    shared.put(KIND, KEY, value)
    found = shared.get(KIND, KEY)
    assert found == value
    assert repr(found) == repr(value)  # tells 1 from 1.0 and True, and 0.0 from -0.0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_every_finite_float_comes_back_bit_by_bit(shared: Store, values: list[float]) -> None:
    shared.put(KIND, KEY, values)
    found = shared.get(KIND, KEY)
    assert struct.pack(f"{len(found)}d", *found) == struct.pack(f"{len(values)}d", *values)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_are_refused_and_leave_the_old_entry(
    store: Store, number: float
) -> None:
    store.put(KIND, KEY, 1.0)
    with pytest.raises(ValueError, match="JSON"):
        store.put(KIND, KEY, [number])
    assert store.get(KIND, KEY) == 1.0


def test_the_default_folder_is_the_users_cache_folder(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    code = (
        "import os, sys; os.environ['XDG_CACHE_HOME'] = sys.argv[1];"
        "from rlprune.cache.store import Store; print(Store().folder)"
    )
    found = run_python(code, tmp_path)
    assert Path(found.stdout.strip()) == tmp_path / "rlprune", found.stderr


def test_a_folder_that_is_a_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(CacheError, match=r"notes\.txt is a file; give a folder") as refused:
        Store(path)
    assert isinstance(refused.value, RLPruneError)
    assert path.read_text() == "mine"


def test_no_store_keeps_nothing(tmp_path: Path) -> None:
    nowhere = NoStore(tmp_path)
    nowhere.put(KIND, KEY, 1.0)
    assert nowhere.get(KIND, KEY) is None
    assert list(tmp_path.iterdir()) == []


# Damage


def edited(**changes: object) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), **changes})


def without(name: str) -> Callable[[str], str]:
    return lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != name})


DAMAGE: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "cut off": lambda text: text[: len(text) // 2],
    "not JSON": lambda text: "measured: yes",
    "nested too deeply": lambda text: "[" * 100_000,
    "a number of too many digits": lambda text: "1" * 10_000,
    "not a number": lambda text: text.replace("1.5", "NaN"),
    "a list": lambda text: "[1.5]",
    "a text": lambda text: '"1.5"',
    "another schema": edited(schema=0),
    "another kind": edited(kind="latency"),
    "another key": edited(key="elsewhere"),
    "another key of another type": edited(key=None),
    "a version that is none": edited(rlprune=None),
    "one field too many": edited(more=1),
    "no value": without("value"),
    "no schema": without("schema"),
    "no version": without("rlprune"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_removed_with_a_warning_and_can_be_stored_anew(
    store: Store, damage: Callable[[str], str]
) -> None:
    store.put(KIND, KEY, [1.5])
    path = the_file(store)
    path.write_text(damage(path.read_text()))
    with pytest.warns(CacheWarning, match="measured again") as caught:
        assert store.get(KIND, KEY) is None
    assert len(caught) == 1
    assert str(path) in str(caught[0].message)
    assert not path.exists()
    assert store.get(KIND, KEY) is None
    store.put(KIND, KEY, [2.5])
    assert store.get(KIND, KEY) == [2.5]


def test_an_entry_of_bytes_that_are_no_text_is_removed_with_a_warning(store: Store) -> None:
    store.put(KIND, KEY, [1.5])
    path = the_file(store)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.warns(CacheWarning, match="not text"):
        assert store.get(KIND, KEY) is None
    assert not path.exists()


def test_an_entry_under_the_name_of_another_is_not_believed(store: Store) -> None:
    store.put(KIND, KEY, 1.5)
    mine = the_file(store)
    store.put(KIND, "other", 2.5)
    [other] = set(store.folder.iterdir()) - {mine}
    other.replace(mine)
    with pytest.warns(CacheWarning, match="another result"):
        assert store.get(KIND, KEY) is None


@given(st.data())
def test_no_single_changed_byte_makes_an_entry_crash_or_pass_for_another(
    shared: Store, data: st.DataObject
) -> None:
    shared.put(KIND, KEY, "unchanged")
    path = the_file(shared)
    text = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(text) - 1))
    text[position] = data.draw(st.integers(0, 255))
    path.write_bytes(text)
    try:
        found = shared.get(KIND, KEY)
    except CacheWarning:  # warnings are errors here
        assert not path.exists()
    else:
        assert found is None or isinstance(found, str)


@pytest.mark.parametrize("changes", [{}, {"schema": 99}, {"schema": 99, "kind": 3}])
def test_an_entry_of_another_rlprune_is_passed_over_silently(
    store: Store, changes: dict[str, object]
) -> None:
    store.put(KIND, KEY, 1.5)
    path = the_file(store)
    path.write_text(edited(rlprune="0.0.1", **changes)(path.read_text()))
    assert store.get(KIND, KEY) is None
    assert path.exists()
    store.put(KIND, KEY, 2.5)
    assert store.get(KIND, KEY) == 2.5


# Folders that cannot be used


def test_a_folder_that_cannot_be_made_costs_one_warning_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "cache")
    assert store.get(KIND, KEY) is None
    with pytest.warns(CacheWarning, match="cannot write to the cache .*file") as caught:
        store.put(KIND, KEY, 1.5)
    assert len(caught) == 1
    store.put(KIND, KEY, 1.5)
    assert store.get(KIND, KEY) is None
    with pytest.raises(ValueError, match="JSON"):
        store.put(KIND, KEY, float("nan"))


def test_an_entry_that_cannot_be_read_is_a_miss_with_a_warning(store: Store) -> None:
    store.put(KIND, KEY, 1.5)
    path = the_file(store)
    path.unlink()
    path.mkdir()
    with pytest.warns(CacheWarning, match="measured again") as caught:
        assert store.get(KIND, KEY) is None
    assert str(path) in str(caught[0].message)


def test_a_folder_that_is_removed_is_made_again(store: Store) -> None:
    store.put(KIND, KEY, 1.5)
    the_file(store).unlink()
    store.folder.rmdir()
    assert store.get(KIND, KEY) is None
    store.put(KIND, KEY, 2.5)
    assert store.get(KIND, KEY) == 2.5


# Size


def test_the_entries_used_least_recently_make_room(tmp_path: Path) -> None:
    unbounded = Store(tmp_path)
    paths = [put_at(unbounded, key, second) for key, second in (("b", 200), ("a", 100), ("c", 300))]
    size = paths[0].stat().st_size
    bounded = Store(tmp_path, max_bytes=3 * size)
    bounded.put(KIND, "d", "x" * 100)
    assert bounded.get(KIND, "a") is None
    assert None not in [bounded.get(KIND, key) for key in "bcd"]


def test_an_entry_that_was_got_counts_as_used(tmp_path: Path) -> None:
    unbounded = Store(tmp_path)
    old, new = put_at(unbounded, "old", 100), put_at(unbounded, "new", 200)
    assert unbounded.get(KIND, "old") is not None
    assert old.stat().st_mtime > new.stat().st_mtime
    bounded = Store(tmp_path, max_bytes=old.stat().st_size + new.stat().st_size)
    bounded.put(KIND, "abc", "x" * 100)
    assert bounded.get(KIND, "new") is None
    assert bounded.get(KIND, "old") is not None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 500)), min_size=1))
def test_a_store_never_takes_more_than_its_limit(
    tmp_path_factory: pytest.TempPathFactory, puts: list[tuple[str, int]]
) -> None:
    store = Store(tmp_path_factory.mktemp("bounded"), max_bytes=1000)
    for key, length in puts:
        store.put(KIND, key, "x" * length)
        assert total_bytes(store.folder) <= 1000


def test_a_value_larger_than_the_store_is_not_kept_and_pushes_nothing_out(tmp_path: Path) -> None:
    store = Store(tmp_path, max_bytes=1000)
    store.put(KIND, "small", 1.5)
    store.put(KIND, "large", "x" * 1000)
    assert store.get(KIND, "large") is None
    assert store.get(KIND, "small") == 1.5


def test_what_a_killed_writer_left_makes_room_and_a_users_files_never_do(tmp_path: Path) -> None:
    entry = put_at(Store(tmp_path), "old", 100)
    staged = tmp_path / f".{entry.name}-abc_1234"
    staged.write_text("x" * 5000)
    os.utime(staged, (100, 100))
    mine = [tmp_path / name for name in ("rlprune-notes.json", "results.json", ".hidden")]
    for path in mine:
        path.write_text("y" * 5000)
        os.utime(path, (1, 1))
    store = Store(tmp_path, max_bytes=1000)
    store.put(KIND, "new", 1.5)
    assert not staged.exists()
    assert all(path.read_text() == "y" * 5000 for path in mine)
    assert store.get(KIND, "new") == 1.5


def test_eviction_endures_files_that_another_process_lists_and_removes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_at(Store(tmp_path), "old", 100)
    listed, unlink = Path.iterdir, Path.unlink

    def vanishing(folder: Path) -> Iterator[Path]:
        yield folder / f"rlprune-{'0' * 32}.json"  # gone before its size is asked for
        yield from listed(folder)

    def beaten(path: Path) -> None:
        unlink(path)
        unlink(path)

    monkeypatch.setattr(Path, "iterdir", vanishing)
    monkeypatch.setattr(Path, "unlink", beaten)
    store = Store(tmp_path, max_bytes=200)
    store.put(KIND, "new", 1.5)
    assert store.get(KIND, "new") == 1.5
    assert store.get(KIND, "old") is None


def test_an_entry_that_may_only_be_read_is_got_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> None:
        raise PermissionError(path)

    store.put(KIND, KEY, 1.5)
    monkeypatch.setattr(os, "utime", forbidden)
    assert store.get(KIND, KEY) == 1.5


def test_an_entry_removed_while_it_is_written_is_merely_not_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed(path: Path, target: Path) -> None:
        path.unlink()
        raise FileNotFoundError(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", removed)
        store.put(KIND, KEY, 1.5)
    assert store.get(KIND, KEY) is None
    store.put(KIND, KEY, 2.5)
    assert store.get(KIND, KEY) == 2.5
