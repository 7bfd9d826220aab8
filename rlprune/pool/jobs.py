"""What is to be trained: the n-th network follows from the settings of the pool and n alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rlprune.data.splits import DataSplits
from rlprune.pool.sampling import sample
from rlprune.pool.specs import SampledSpec

_SEEDS = 2**31


class BriefTraining(BaseModel):
    """How networks are trained: SGD with a one-cycle learning rate.

    Attributes:
        images: of the train split, at most.
        presented: images that a network sees, counted as often as it sees them, to whole epochs.
        validation_images: at most.
        learning_rate: peak of the schedule.
        least_accuracy: on validation; a network that stays below has failed.
        threads: CPU threads, which decide the last bits of the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(default=8192, ge=1)
    presented: int = Field(default=24576, ge=1)
    validation_images: int = Field(default=2000, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    least_accuracy: float = Field(default=0.7, ge=0, le=1)
    threads: int = Field(default=1, ge=1)

    def epochs(self, train_images: int) -> int:
        """Return how often so many images are presented."""
        return max(1, round(self.presented / min(self.images, train_images)))


class Job(BaseModel):
    """One network to train.

    Attributes:
        number: of the network in its pool, from 0.
        spec: its architecture.
        data: what `pool_data` takes.
        tag: of the data, see `DataSplits.tag`.
        input_shape: channels, height and width of the images.
        num_classes: of the data.
        seed: of the initial weights and the order of the images.
        training: how it is trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=0)
    spec: SampledSpec
    data: str
    tag: str
    input_shape: tuple[int, int, int]
    num_classes: int = Field(ge=2)
    seed: int
    training: BriefTraining

    @property
    def name(self) -> str:
        """Name of the network and of its folder."""
        return f"{self.number:04d}-{self.spec.family}-{self.tag}"

    @property
    def model(self) -> str:
        """What `rlprune.models.build_model` takes."""
        return f"pool:{self.spec.model_dump_json()}"


@dataclass(frozen=True)
class Task:
    """What a pool must know of a task: its name, and the sizes that a network must fit."""

    name: str
    tag: str
    input_shape: tuple[int, int, int]
    num_classes: int

    @classmethod
    def of(cls, name: str, data: DataSplits) -> Task:
        """Return the task that loading `name` gave."""
        return cls(name, data.tag, data.input_shape, data.num_classes)


@dataclass(frozen=True)
class PoolPlan:
    """A pool of any length.

    Attributes:
        families: in turn; see `rlprune.pool.sampling.FAMILIES`.
        tasks: in turn, so that every family meets every task equally often.
        seed: of all chance.
        training: of every network.
    """

    families: tuple[str, ...]
    tasks: tuple[Task, ...]
    seed: int
    training: BriefTraining

    def job(self, number: int) -> Job:
        """Return what the n-th network is, counted from 0."""
        turn, place = divmod(number, len(self.families))
        task = self.tasks[(turn + place) % len(self.tasks)]
        rng = np.random.default_rng([self.seed, number])
        seed = int(rng.integers(_SEEDS))
        return Job(
            number=number,
            spec=sample(self.families[place], task.input_shape, rng),
            data=task.name,
            tag=task.tag,
            input_shape=task.input_shape,
            num_classes=task.num_classes,
            seed=seed,
            training=self.training,
        )
