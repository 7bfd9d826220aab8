"""What a training run writes to TensorBoard, and its progress bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from rich.progress import Progress, TaskID
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import HParam, TensorBoardOutputFormat
from torch.utils.tensorboard import SummaryWriter

from rlprune.evaluate.evaluator import Measurement
from rlprune.problem import Problem
from rlprune.progress import progress_bar
from rlprune.surgery.plan import Plan

SCALARS = (
    "reward/total",
    "reward/quality",
    "reward/macs",
    "reward/latency",
    "prune/macs_kept",
    "prune/params_kept",
    "prune/latency_kept",
    "best/reward",
)
"""Tags of ours in every run, besides the task's own; `train/*` and `time/*` are SB3's."""

LAYOUT = {
    "rlprune": {
        "reward": [
            "Multiline",
            ["reward/total", "reward/quality", "reward/macs", "reward/latency"],
        ],
        "quality": ["Multiline", ["prune/accuracy", "prune/psnr_db"]],
        "distance to the dense network": ["Multiline", ["prune/kl", "prune/mse"]],
        "cost": ["Multiline", ["prune/macs_kept", "prune/params_kept", "prune/latency_kept"]],
        "kept per group": ["Multiline", ["group/.*"]],
    }
}
"""The custom-scalars page."""


class PruningCallback(BaseCallback):
    """Logs every episode and keeps its return, its search score and the best plan by that.

    Args:
        problems: the pool, to name groups and compute kept fractions.
        timesteps: length of the training, for the progress bar.
        hparams: what the hparams page shows.
        notes: texts to show, such as the configuration.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        timesteps: int,
        hparams: Mapping[str, float],
        notes: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.returns: list[float] = []
        self.scores: list[float] = []
        self.best_plans: dict[int, tuple[float, Plan]] = {}
        self._problems = problems
        self._timesteps = timesteps
        self._hparams = dict(hparams)
        self._notes = notes
        self._best = [float("-inf")] * len(problems)
        self._stack = ExitStack()
        self._progress: Progress
        self._bar: TaskID

    def close(self) -> None:
        """Remove the progress bar."""
        self._stack.close()

    def _on_training_start(self) -> None:
        tasks = {f"prune/{n}" for p in self._problems for n in _quality_tags(p)}
        metrics: dict[str, float] = dict.fromkeys([*SCALARS, *sorted(tasks)], 0.0)
        silent = ("stdout", "log", "json", "csv")
        self.logger.record("hparams", HParam(self._hparams, metrics), exclude=silent)
        if self._writer is not None:
            self._writer.add_custom_scalars(LAYOUT)
            for name, text in self._notes.items():
                self._writer.add_text(name, text)
        self._progress = self._stack.enter_context(progress_bar())
        self._bar = self._progress.add_task("training (steps)", total=self._timesteps)

    def _on_step(self) -> bool:
        self._progress.update(self._bar, completed=self.num_timesteps)
        for info in self.locals["infos"]:
            if "measurement" in info:
                self._log_episode(info)
        return True

    def _log_episode(self, info: dict[str, Any]) -> None:
        total = float(info["episode"]["r"])  # added by SB3's VecMonitor
        self.returns.append(total)
        record = self.logger.record_mean
        record("reward/total", total)
        for name, value in info["reward_terms"].items():
            record(f"reward/{name}", value)
        problem = self._problems[info["problem"]]
        measured: Measurement = info["measurement"]
        self._keep(info["problem"], measured.score, info["plan"])
        metric, distance = _quality_tags(problem)
        record(f"prune/{metric}", measured.quality)
        record(f"prune/{distance}", measured.score)
        record("prune/macs_kept", measured.macs / problem.graph.macs())
        record("prune/params_kept", measured.params / problem.graph.params())
        if measured.latency_kept is not None:
            record("prune/latency_kept", measured.latency_kept)
        for group, kept in info["groups"].items():
            record(f"group/{problem.name}/{group}/kept", float(kept))
        self._log_best(info, total)

    def _keep(self, index: int, score: float, plan: Plan) -> None:
        self.scores.append(score)
        if index not in self.best_plans or score < self.best_plans[index][0]:
            self.best_plans[index] = score, plan

    def _log_best(self, info: dict[str, Any], total: float) -> None:
        index = info["problem"]
        if total > self._best[index]:
            self._best[index] = total
            problem, plan = self._problems[index], info["plan"]
            if self._writer is not None:
                text = f"{problem.name} at {problem.budget}, reward {total:+.4f}: {plan!r}"
                self._writer.add_text(f"best/plan/{problem.name}", text, self.num_timesteps)
        self.logger.record("best/reward", max(self._best))

    @property
    def _writer(self) -> SummaryWriter | None:
        for output in self.logger.output_formats:
            if isinstance(output, TensorBoardOutputFormat):
                return output.writer
        return None


def _quality_tags(problem: Problem) -> tuple[str, str]:
    return problem.evaluator.task.metric, problem.evaluator.task.distance
