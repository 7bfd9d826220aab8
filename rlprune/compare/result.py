"""`result.json` of a comparison."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rlprune.compare.cells import BASELINE, Row
from rlprune.compare.records import Difference, Fidelity, Front, Summary, Volume
from rlprune.compare.summary import differences, fidelities, fronts, summaries, volumes
from rlprune.report.result import Device


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True, ser_json_inf_nan="constants")


class Dense(_Record):
    """One network before pruning; `accuracy` is the value of `metric` on the test split."""

    model: str
    metric: str
    accuracy: float
    macs: int
    params: int


class Refusal(_Record):
    """A cell without a row, and why."""

    model: str
    method: str
    budget: str
    seed: int
    reason: str


class Comparison(_Record):
    """A whole `result.json` of `rlprune compare`.

    Attributes:
        finetune_steps: of the standard recipe.
        rows: one for each finished cell; accuracies are on the test split, PSNR of a
            reconstruction in dB.
        notes: what a reader must know, such as what a preset leaves out.
    """

    version: int = Field(default=1, alias="schema")
    command: str = "compare"
    model: str
    data: str
    seed: int
    seeds: int
    device: Device
    budgets: tuple[str, ...]
    methods: tuple[str, ...]
    evaluations: int
    finetune_steps: int
    baseline: str = BASELINE
    dense: tuple[Dense, ...]
    rows: tuple[Row, ...]
    refused: tuple[Refusal, ...] = ()
    summary: tuple[Summary, ...] = ()
    differences: tuple[Difference, ...] = ()
    pareto: tuple[Front, ...] = ()
    hypervolume: tuple[Volume, ...] = ()
    fidelity: tuple[Fidelity, ...] = ()
    notes: tuple[str, ...] = ()

    def with_statistics(self) -> Comparison:
        """Return the same rows with all that follows from them."""
        summary = summaries(self.rows)
        return self.model_copy(
            update={
                "summary": summary,
                "differences": differences(self.rows, self.baseline),
                "pareto": fronts(summary),
                "hypervolume": volumes(self.rows),
                "fidelity": fidelities(self.rows),
            }
        )

    def to_json(self) -> str:
        """Return the text of `result.json`."""
        return self.model_dump_json(by_alias=True, indent=2)


def read_comparison(path: Path) -> Comparison | None:
    """Read the `result.json` of a comparison; None where it is another command's, or damaged."""
    try:
        return Comparison.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
