"""The model card that lies beside a pruned model."""

from __future__ import annotations

from rlprune.report.result import Result
from rlprune.report.terminal import columns_of, rows_of


def model_card(result: Result, loads_alone: bool) -> str:
    """Return the README of a saved model.

    Args:
        result: of the apply run.
        loads_alone: whether `rlprune.load` can build the architecture without a factory.
    """
    columns = columns_of(result)
    lines = [
        f"# {result.model}, pruned for {result.data}",
        "",
        "Channels were physically removed; `plan.json` holds the original indices of those that "
        "stay, `model.safetensors` the weights." + _removed_blocks(result),
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(row)} |" for row in rows_of(result)),
        "",
        f"Latency measured on {result.device.name} ({result.device.type}), "
        f"{result.device.threads} threads, dense and pruned interleaved.",
        "",
        "```python",
        "import rlprune",
        "",
        'model = rlprune.load("THIS_FOLDER")'
        if loads_alone
        else 'model = rlprune.load("THIS_FOLDER", factory)  # factory() builds the dense model',
        "```",
        "",
    ]
    return "\n".join(lines)


def _removed_blocks(result: Result) -> str:
    names = [group.name for group in result.groups if group.kind == "block" and not group.kept]
    return f" Removed as a whole: {', '.join(names)}." if names else ""
