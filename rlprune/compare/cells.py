"""Cells of a comparison: one method at one budget with one seed, and the file that each leaves."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rlprune.cache.fingerprint import combined
from rlprune.errors import RunError, first_line
from rlprune.files import write_text

BASELINE = "uniform"
"""The method that all others are compared with; always among the rows."""

SCRATCH = "from-scratch"
"""The baseline's network with new weights, trained like all others; always among the rows."""


class CellWarning(UserWarning):
    """The file of a finished cell cannot be used; the cell is repeated."""


@dataclass(frozen=True)
class Cell:
    """What is to be done.

    Attributes:
        model: as the user typed it.
        method: name of a strategy, an agent folder, or `SCRATCH`.
        budget: as `Budget` prints it.
        seed: of search images, strategy and fine-tuning.
    """

    model: str
    method: str
    budget: str
    seed: int

    @property
    def file(self) -> str:
        """Name of its file: readable, and different for every cell."""
        parts = (self.model, self.method, self.budget, str(self.seed))
        readable = re.sub(r"[^\w.=-]+", "-", "_".join(parts))[-80:].strip("-.")
        return f"{readable}_{combined(*parts)[:8]}.json"


class Accuracies(BaseModel):
    """The task's metric of one network on one split; in dB for reconstructions.

    Attributes:
        repaired: refitted by least squares, not trained.
        after_50_steps: of the recipe with batches of 64.
        finetuned: by the standard recipe.
    """

    model_config = ConfigDict(frozen=True)

    repaired: float
    after_50_steps: float | None
    finetuned: float | None


class Row(BaseModel):
    """One finished cell, as `result.json` holds it.

    Attributes:
        evaluations: without those of a profile.
        kept_macs: fraction of the dense network's.
        kept_latency: as predicted by the table of the device, or None where none was measured.
        score_search: of the plan, a loss; None of the control.
        accuracy_repaired: see `Accuracies`; on the test split.
        validation: the same on the validation split.
        seconds: for choosing the plan.
        training_seconds: for fine-tuning it, maybe on behalf of another cell with the same plan.
        best_so_far: `(evaluation, search score)` whenever the best one changed.
        plan: digest of what is kept.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    model: str
    method: str
    budget: str
    seed: int
    evaluations: int
    profile_evaluations: int
    kept_macs: float
    kept_params: float
    kept_latency: float | None
    score_search: float | None
    accuracy_repaired: float
    accuracy_50_steps: float | None
    accuracy_finetuned: float | None
    validation: Accuracies
    seconds: float
    training_seconds: float
    best_so_far: tuple[tuple[int, float], ...]
    plan: str


class _CellFile(BaseModel):
    """What a cell's file holds: `identity` digests the settings and the network."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    version: int = 1
    identity: str
    row: Row


class CellFolder:
    """The finished cells of a run; each file appears whole or not at all.

    Args:
        folder: where they lie.
        identity: of a cell: a digest of the settings, the method, the network and its data.
    """

    def __init__(self, folder: Path, identity: Callable[[Cell], str]) -> None:
        self._folder = folder
        self._identity = identity

    def read(self, cells: Sequence[Cell]) -> dict[Cell, Row]:
        """Return the cells that are finished; a damaged file is removed with a `CellWarning`.

        Raises:
            RunError: if a cell is of another network, other data, other settings or an agent that
                was changed since.
        """
        found = {}
        for cell in cells:
            path = self._folder / cell.file
            if not path.is_file():
                continue
            try:
                file = _CellFile.model_validate_json(path.read_text(encoding="utf-8"))
            except (ValidationError, UnicodeDecodeError) as error:
                warnings.warn(
                    f"{path} is damaged ({first_line(error)}); the cell is repeated",
                    CellWarning,
                    stacklevel=2,
                )
                path.unlink()
                continue
            if file.identity != self._identity(cell):
                raise RunError(
                    f"{path} was made with other settings, for another network or other data, or "
                    "by an agent that was changed since; choose another --out"
                )
            found[cell] = file.row
        return found

    def write(self, cell: Cell, row: Row) -> None:
        """Keep a finished cell."""
        file = _CellFile(identity=self._identity(cell), row=row)
        write_text(self._folder / cell.file, file.model_dump_json(indent=1))
