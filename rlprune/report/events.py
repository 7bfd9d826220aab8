"""TensorBoard: event files of an apply run, and the viewer."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

from rlprune.errors import RunError
from rlprune.report.picture import result_figure
from rlprune.report.result import Result
from rlprune.report.terminal import stages_of


def write_events(folder: Path, result: Result, config: str) -> None:
    """Write the measurements of an apply run, its picture and its configuration."""
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("config", f"```json\n{config}\n```")
        for stage, measured in stages_of(result).items():
            writer.add_scalar(f"final/{measured.metric.name}/{stage}", measured.metric.value)
            writer.add_scalar(f"final/macs/{stage}", measured.macs)
            writer.add_scalar(f"final/params/{stage}", measured.params)
            for batch, timing in measured.latency_ms.items():
                writer.add_scalar(f"final/latency_ms/{batch}/{stage}", timing.median)
        for group in result.groups:
            writer.add_scalar(f"group/{result.model}/{group.name}/kept", group.kept / group.width)
        writer.add_figure("final/picture", result_figure(result))


def open_tensorboard(runs: Sequence[Path], port: int, console: Console) -> None:
    """Serve TensorBoard on several runs until Ctrl-C; without a terminal, say how to start it.

    Raises:
        RunError: if the port is taken.
    """
    spec = ",".join(f"{run.name}:{run}" for run in runs)
    if not sys.stdin.isatty():
        console.print(f"TensorBoard: tensorboard --logdir_spec {spec}", soft_wrap=True)
        return
    from tensorboard import program

    board = program.TensorBoard()
    board.configure(argv=[None, "--logdir_spec", spec, "--port", str(port)])
    try:
        url = board.launch()
    except program.TensorBoardServerException as error:
        raise RunError(
            f"TensorBoard cannot start: {error}; type --port 0 for a free one"
        ) from error
    console.print(f"TensorBoard is at {url} (Ctrl-C ends it)")
    while True:
        time.sleep(3600)
