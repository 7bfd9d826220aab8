"""Networks of a pool on disk: `POOL/NUMBER-FAMILY-DATA/`, which appear whole or not at all.

Each holds `network.json`, `model.safetensors` and how the network learned in `model.dynamics.json`;
of a network that failed, the first one only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors.torch import save_file
from torch import Tensor, nn

from rlprune.cache.fingerprint import of_tensors
from rlprune.dynamics.record import Dynamics
from rlprune.dynamics.storage import beside, check_fits, read_dynamics, write_dynamics
from rlprune.errors import DynamicsError, ModelError, RunError, first_line
from rlprune.files import staged_folder
from rlprune.models import _weightfile as weightfile
from rlprune.models.registry import LoadedModel, rebuild
from rlprune.pool.jobs import Job

RECORD_FILE = "network.json"
WEIGHTS_FILE = "model.safetensors"


_NUMBERED = re.compile(r"\d{4,}-")


class Record(BaseModel):
    """What came of a job, as `network.json` holds it.

    Attributes:
        version: of this format.
        job: what was trained, and how.
        accuracy: on the validation images; None if training did not come to an end.
        failure: why the network cannot be used; None of one that learned.
        cpu_seconds: that training took, of all threads.
        weights: digest of the weights; None of a network that failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    job: Job
    accuracy: float | None = Field(ge=0, le=1)
    failure: str | None
    cpu_seconds: float
    weights: str | None

    @model_validator(mode="after")
    def _check_outcome(self) -> Self:
        if (self.failure is None) != (self.weights is not None):
            raise ValueError("a network has either weights or a reason why it has none")
        return self

    @property
    def has_learned(self) -> bool:
        """Whether there is a network."""
        return self.weights is not None


@dataclass(frozen=True)
class Content:
    """What is written of a network that learned."""

    tensors: dict[str, Tensor]
    dynamics: Dynamics

    @classmethod
    def of(cls, module: nn.Module, dynamics: Dynamics) -> Self:
        """Take the weights from a network."""
        state = module.state_dict()
        return cls({name: value.detach().contiguous() for name, value in state.items()}, dynamics)

    @property
    def digest(self) -> str:
        """Digest of the weights."""
        return of_tensors(self.tensors)


@dataclass(frozen=True)
class Entry:
    """One network of a pool; its weights are read when they are asked for."""

    folder: Path
    record: Record

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.record.job.name

    def load(self) -> LoadedModel:
        """Read the network, bit for bit as it was trained.

        Raises:
            RunError: if it failed, or its files are damaged.
        """
        content = self.content()
        job = self.record.job
        channels, size, _ = job.input_shape
        recipe: dict[str, str | int] = {
            "model": job.model,
            "in_channels": channels,
            "num_classes": job.num_classes,
            "image_size": size,
        }
        module = rebuild(recipe)
        shapes = {name: one.shape for name, one in module.named_parameters()}
        try:
            weightfile.fill(module, content.tensors, source=WEIGHTS_FILE)
            check_fits(content.dynamics, shapes, source="the dynamics record")
        except (ModelError, DynamicsError) as error:
            raise _damaged(self.folder, error) from error
        return LoadedModel(self.name, module.eval(), recipe, content.dynamics)

    def content(self) -> Content:
        """Read the weights and how the network learned, and check them.

        Raises:
            RunError: if the network failed, or a file is damaged.
        """
        if self.record.failure is not None:
            raise RunError(
                f"{self.name} has no weights: {self.record.failure}; take another network"
            )
        path = self.folder / WEIGHTS_FILE
        try:
            content = Content(weightfile.read(path), read_dynamics(beside(path)))
        except (ModelError, DynamicsError) as error:
            raise _damaged(self.folder, error) from error
        if content.digest != self.record.weights:
            raise _damaged(self.folder, RunError(f"{WEIGHTS_FILE} is not what was written"))
        return content


def write(pool: Path, record: Record, content: Content | None) -> None:
    """Write a network, or that it failed."""
    with staged_folder(pool / record.job.name) as staging:
        (staging / RECORD_FILE).write_text(record.model_dump_json(indent=1), encoding="utf-8")
        if content is not None:
            weights = staging / WEIGHTS_FILE
            save_file(content.tensors, weights)
            write_dynamics(beside(weights), content.dynamics)


def read(pool: Path) -> tuple[Entry, ...]:
    """Return all networks of a pool by number, those that failed too.

    Raises:
        RunError: if there are none, or a record is damaged.
    """
    found = sorted((read_entry(path) for path in entry_folders(pool)), key=_number)
    if not found:
        raise RunError(f"{pool} holds no networks; make some: python scripts/make_pool.py")
    return tuple(found)


def entry_folders(pool: Path) -> Iterator[Path]:
    """Yield the folders of a pool; what a process that was killed left of others is hidden."""
    if pool.is_dir():
        found = (path for path in pool.iterdir() if _NUMBERED.match(path.name))
        yield from sorted(path for path in found if path.is_dir())


def read_entry(folder: Path) -> Entry:
    """Read one record.

    Raises:
        RunError: if it is missing, damaged, or of another network than the folder's name says.
    """
    path = folder / RECORD_FILE
    try:
        record = Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise _damaged(folder, error) from error
    if record.job.name != folder.name:
        raise _damaged(folder, RunError(f"it holds {record.job.name}"))
    return Entry(folder, record)


def _number(entry: Entry) -> int:
    return entry.record.job.number


def _damaged(folder: Path, error: Exception) -> RunError:
    return RunError(
        f"{folder} is damaged ({first_line(error)}); type the command that made the pool, which "
        "makes this network again"
    )
