"""What was exported, as a terminal table."""

from __future__ import annotations

from rich.table import Table

from rlprune.export.check import ExportCheck


def export_table(check: ExportCheck) -> Table:
    """Return one row: the file, and how far it is from torch at every batch size tried."""
    table = Table(title="largest difference from torch, and relative to the largest output")
    table.add_column("file")
    for heading in ("bytes", "dynamic batch", *(f"at batch {size}" for size in check.differences)):
        table.add_column(heading, justify="right")
    differences = (f"{d.absolute:.1e} ({d.relative:.1e})" for d in check.differences.values())
    table.add_row(
        check.file.name,
        f"{check.bytes:,}",
        "yes" if check.dynamic_batch else "no",
        *differences,
    )
    return table


def export_warning(check: ExportCheck) -> str | None:
    """Return what a user of a file with a fixed batch size must not miss."""
    if check.dynamic_batch:
        return None
    (size,) = check.differences
    return f"{check.file.name} takes batches of {size} only: {check.batch_fixed_by}"
