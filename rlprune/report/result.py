"""`result.json`: the record of one run; its keys are a contract."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlprune.errors import RunError, first_fault
from rlprune.graph.group_graph import GroupKind

RESULT_FILE = "result.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Timing(_Record):
    """Milliseconds per forward pass."""

    median: float
    p90: float


class Metric(_Record):
    """The task's own metric."""

    name: str
    value: float


class Measured(_Record):
    """One network, on the test split, with latencies measured side by side with the others.

    Attributes:
        bytes: of the file that holds its weights.
        activation_bytes: most that is alive at one moment of a forward pass of one sample.
        latency_ms: by batch, `batch_1` and so on.
    """

    accuracy: float | None
    metric: Metric
    split: str
    macs: int
    params: int
    bytes: int
    activation_bytes: int
    latency_ms: dict[str, Timing]


class Device(_Record):
    """Where the run took place."""

    name: str
    type: str
    threads: int
    torch: str
    runtime: str = "eager"


class BudgetRecord(_Record):
    """A limit and what was achieved, as kept fractions.

    Attributes:
        achieved: None after training; of latency, what was measured end to end.
        interval: 95 % interval of a measured latency.
        predicted: what the search took the latency for.
        self_ratio: of the dense network to itself in the same rounds, ideally 1.
    """

    quantity: str
    kept: float
    achieved: float | None
    interval: tuple[float, float] | None = None
    predicted: float | None = None
    self_ratio: float | None = None


class ConstraintRecord(_Record):
    """A constraint and what was reached on the validation split, before fine-tuning.

    Attributes:
        constraint: as the user typed it.
        least: value of its metric that is allowed.
        dense: value of the dense network.
        reached: value of the pruned network.
        met: whether that is enough.
    """

    constraint: str
    least: float
    dense: float
    reached: float
    met: bool


class Search(_Record):
    """How the plan was found and what that cost.

    Attributes:
        seconds: all in all.
        fallback: whether the answer is not the agent's own.
        fallback_reason: why, and whose it is.
        evaluation_seconds: spent evaluating.
        best_so_far: `(evaluation, search score)` whenever the best one changed.
    """

    method: str
    agent: str | None
    profile_evaluations: int
    evaluations: int
    cache_hits: int
    seconds: float
    fallback: bool
    fallback_reason: str | None = None
    evaluation_seconds: float = 0.0
    best_so_far: tuple[tuple[int, float], ...] = ()


class GroupRecord(_Record):
    """Channels of one group before and after, or a block: 1 of 1 if it stays, 0 of 1 if not.

    Attributes:
        kept: channels that remain: 0 where they lie in a block that went.
        kind: channels, heads or block.
        step: channels that stay or go together, such as those of a head.
    """

    name: str
    width: int
    kept: int
    kind: GroupKind = "channels"
    step: int = 1

    @property
    def units(self) -> tuple[int, int]:
        """Units before and after: heads, not their channels."""
        size = self.step if self.kind == "heads" else 1
        return self.width // size, self.kept // size


class LeftOutRecord(_Record):
    """A group that was not pruned."""

    name: str
    reason: str


class TrainingRecord(_Record):
    """What happened while an agent was trained.

    Attributes:
        returns: of every episode, in order.
        deterministic: `{problem: (return before training, return after)}` without exploration.
        interrupted: whether Ctrl-C ended the run early.
    """

    episodes: int
    returns: tuple[float, ...]
    deterministic: dict[str, tuple[float, float]]
    interrupted: bool


class Result(_Record):
    """A whole `result.json`.

    Attributes:
        latency_self_ratio: dense latency / dense latency, measured like the others; ideally 1.
    """

    version: int = Field(default=1, alias="schema")
    command: str
    model: str
    data: str
    seed: int
    device: Device
    budgets: tuple[BudgetRecord, ...]
    constraints: tuple[str, ...] = ()
    constraints_measured: tuple[ConstraintRecord, ...] = ()
    dense: Measured | None = None
    pruned: Measured | None = None
    finetuned: Measured | None = None
    latency_self_ratio: dict[str, float] = {}
    search: Search
    groups: tuple[GroupRecord, ...] = ()
    left_out: tuple[LeftOutRecord, ...] = ()
    training: TrainingRecord | None = None

    def to_json(self) -> str:
        """Return the text of `result.json`."""
        return self.model_dump_json(by_alias=True, indent=2)


def read_result(run: Path) -> Result:
    """Read `RUN/result.json`.

    Raises:
        RunError: if it is missing or damaged.
    """
    path = run / RESULT_FILE
    if not path.is_file():
        raise RunError(f"{path} is missing; give a run folder that train, apply or demo wrote")
    try:
        return Result.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        raise RunError(
            f"{path} is damaged ({first_fault(error)}); run the command again"
        ) from error
