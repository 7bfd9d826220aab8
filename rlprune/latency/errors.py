"""What can be wrong with a request to measure latency."""

from __future__ import annotations

from rlprune.errors import RLPruneError


class LatencyError(RLPruneError):
    """Latency that cannot be measured, or a table that was measured for something else."""
