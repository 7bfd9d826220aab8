"""The one interface through which decoder and reward ask what a network's latency is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


class LatencyProvider(Protocol):
    """Charges width vectors for their latency."""

    def kept(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return latency / dense latency of each width vector; `(..., groups)` -> `(...)`."""
