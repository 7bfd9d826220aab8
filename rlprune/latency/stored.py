"""What is measured once per device, and kept: its granularity, and the tables of networks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from rlprune.cache.fingerprint import combined, of_device, of_problem, processor_name
from rlprune.cache.store import Store
from rlprune.calling import Inputs, batch_size, call, main_output, shapes, take, tensors_in
from rlprune.config import LatencySettings
from rlprune.cost.analytic import Widths
from rlprune.errors import CacheError, LatencyError
from rlprune.graph.group_graph import GroupGraph
from rlprune.latency.granularity import measure_granularity
from rlprune.latency.measure import measure_table
from rlprune.latency.table import VERSION, OperatorTable

_GRANULARITY = "granularity-1"  # the number changes with what is measured
_TABLE = f"latency-table-{VERSION}"

_NAMED_SAMPLES = 2


def granularity(device: torch.device, settings: LatencySettings, store: Store) -> int:
    """Return to what multiples channels should be rounded, measured once per device."""
    key = combined(of_device(device, torch.get_num_threads()), settings.model_dump_json())
    known = store.get(_GRANULARITY, key)
    if isinstance(known, int):
        return known
    found = measure_granularity(device, settings).channels
    store.put(_GRANULARITY, key, found)
    return found


def latency_table(
    model: nn.Module,
    graph: GroupGraph,
    batch: Inputs,
    settings: LatencySettings,
    multiple: int,
    round_to: Widths,
    store: Store,
) -> OperatorTable:
    """Return the latency table of a network on its device, measured unless it is stored.

    Args:
        model: the dense network, in eval mode.
        graph: its dependency groups.
        batch: inputs of the timed forward pass, on the model's device.
        settings: runtime, rounds and least time per round.
        multiple: channels that the device takes at once.
        round_to: of what the widths to predict will be multiples; one number for each group.
        store: where the table is kept.
    """
    key = table_key(model, graph, batch, settings)
    stored_as = combined(key, settings.model_dump_json(), str(multiple), str(round_to.tolist()))
    known = store.get(_TABLE, stored_as)
    if isinstance(known, str):
        return OperatorTable.from_json(known, key)
    table = measure_table(model, graph, batch, settings, key, multiple=multiple, round_to=round_to)
    store.put(_TABLE, stored_as, table.to_json())
    return table


def read_table(
    path: Path, model: nn.Module, graph: GroupGraph, batch: Inputs, settings: LatencySettings
) -> OperatorTable:
    """Read a table that an earlier run has written.

    Raises:
        CacheError: if the file cannot be read.
        LatencyError: if it is damaged, or was measured on another device or for something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CacheError(f"cannot read the latency table {path}: {error}") from error
    try:
        return OperatorTable.from_json(text, table_key(model, graph, batch, settings))
    except LatencyError as error:
        raise LatencyError(f"{path}: {error}") from error


def table_key(model: nn.Module, graph: GroupGraph, batch: Inputs, settings: LatencySettings) -> str:
    """Say what a table is for, in words and by a digest of network and device."""
    few = take(batch, slice(0, _NAMED_SAMPLES))
    with torch.inference_mode():
        outputs = main_output(call(model, few))
    device, threads = outputs.device, torch.get_num_threads()
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    shape = shapes(tuple(tensor[:1] for tensor in tensors_in(batch)))
    digest = of_problem(model, graph, few, torch.zeros(0), outputs)
    return (
        f"{where} ({device.type}), {threads} threads, torch {torch.__version__}, "
        f"{settings.runtime}, batches of {batch_size(batch)} times {shape}, network {digest[:12]}"
    )
