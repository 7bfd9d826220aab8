"""Whole episodes on random weights and images, for benchmarks to time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from bench import noise
from torch import Tensor, nn

from rlprune.allocate.sensitivity import Sensitivity
from rlprune.config import EvaluationSettings, RewardSettings
from rlprune.cost.budget import Budget
from rlprune.envs import ENV_ID
from rlprune.evaluate.evaluator import Evaluator
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import build_model
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

CLASSES, BUDGET = 10, "macs=0.4"


@dataclass
class Bench:
    """One network with its samples, ready for episodes."""

    name: str
    problem: Problem
    images: Tensor
    rng: np.random.Generator

    @property
    def model(self) -> nn.Module:
        """The dense network."""
        return self.problem.evaluator.model

    @property
    def graph(self) -> GroupGraph:
        """Its groups."""
        return self.problem.graph


def prepare(name: str, model: nn.Module, size: int, batch: int) -> Bench:
    """Trace a network; give it random images, and random sensitivities in place of a profile."""
    data = noise(batch, size, CLASSES)
    images, _ = data.search.tensors()
    assert isinstance(images, Tensor)  # noqa: S101 - for the type
    graph = trace(model, images[:2])
    evaluator = Evaluator(
        model,
        graph,
        data,
        latency=None,
        seed=0,
        device=torch.device("cpu"),
        settings=EvaluationSettings(score="kl", images=batch, precision="float32"),
    )
    rng = np.random.default_rng(0)
    scores = Sensitivity(np.exp(rng.normal(0, 1, len(graph.groups))), graph.is_block)
    problem = Problem(name, evaluator, data, Budget.parse(BUDGET), sensitivity=lambda: scores)
    _ = problem.reference  # measured once per problem, not per episode
    layout = images.contiguous(memory_format=torch.channels_last)
    return Bench(name, problem, layout, rng)


def build(spec: str, size: int) -> nn.Module:
    """Build a network with random weights."""
    torch.manual_seed(0)
    return build_model(spec, in_channels=3, num_classes=CLASSES, image_size=size).eval()


@dataclass(frozen=True)
class Episode:
    """One episode: its plan and seconds, of the whole and of each step but the last."""

    plan: Plan
    seconds: float
    steps: tuple[float, ...]


Actions = npt.NDArray[np.float32]


def actions_of(bench: Bench, largest: float = 0.25) -> Actions:
    """Draw one action per group, by default so small that all blocks stay."""
    return bench.rng.uniform(-largest, largest, len(bench.graph.groups)).astype(np.float32)


def environment(bench: Bench) -> gymnasium.Env[object, object]:
    """Return its environment, whose reward does not count latency."""
    return gymnasium.make(
        f"rlprune.envs:{ENV_ID}", problem=bench.problem, settings=RewardSettings(latency=0)
    )


def episode(bench: Bench, env: gymnasium.Env[object, object], actions: Actions) -> Episode:
    """Walk once and time it."""
    steps = []
    start = before = time.perf_counter()
    env.reset()
    for action in actions:
        *_, info = env.step(np.array([action]))
        now = time.perf_counter()
        steps.append(now - before)
        before = now
    return Episode(info["plan"], before - start, tuple(steps[:-1]))
