"""Files of finished cells."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rlprune.compare.cells import Cell, CellFolder, CellWarning
from rlprune.errors import RunError
from tests.compare.rows import cell, row

ROWS = [row("uniform", 0, 0.8), row("random", 1, 0.9)]


@pytest.fixture
def folder(tmp_path: Path) -> CellFolder:
    made = CellFolder(tmp_path / "cells", lambda _: "this network")
    for one in ROWS:
        made.write(cell(one), one)
    return made


def test_what_is_finished_is_read_back_and_nothing_else(folder: CellFolder) -> None:
    other = Cell("net", "uniform", "macs=0.4", 7)
    assert folder.read([*map(cell, ROWS), other]) == {cell(one): one for one in ROWS}


def test_a_broken_network_has_an_infinite_score(folder: CellFolder) -> None:
    broken = row("a", 0, 0.1, score=math.inf)
    folder.write(cell(broken), broken)
    assert folder.read([cell(broken)]) == {cell(broken): broken}


@pytest.mark.parametrize("text", ["", "{", '{"identity": "this network"}', "\x00"])
def test_a_damaged_file_is_dropped_with_a_warning(
    text: str, folder: CellFolder, tmp_path: Path
) -> None:
    file = tmp_path / "cells" / cell(ROWS[0]).file
    file.write_text(text)
    with pytest.warns(CellWarning, match="is damaged .* the cell is repeated"):
        found = folder.read(list(map(cell, ROWS)))
    assert list(found) == [cell(ROWS[1])]
    assert not file.exists()


def test_cells_of_another_network_are_refused(folder: CellFolder, tmp_path: Path) -> None:
    other = CellFolder(tmp_path / "cells", lambda _: "another network")
    with pytest.raises(RunError, match="choose another --out"):
        other.read([cell(ROWS[0])])


def test_every_cell_has_a_file_of_its_own_and_a_plain_name() -> None:
    cells = [
        Cell(model, method, budget, seed)
        for model in ("net", "a/b.py:net", "a-b.py-net")
        for method in ("m", "runs/agent")
        for budget in ("macs=0.4", "macs=0.4,params=0.5")
        for seed in (0, 1)
    ]
    names = {one.file for one in cells}
    assert len(names) == len(cells)
    assert all("/" not in name and ":" not in name for name in names)
