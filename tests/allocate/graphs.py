"""A few networks of different structure, as graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import build_model
from tests import nets
from tests.transformer import transformer

BUILT_IN = ("plain_cnn", "resnet20")

GRAPHS: dict[str, GroupGraph] = {
    **{name: trace(nets.build(name), nets.images(2)) for name in ("ghost", "concat", "gated")},
    **{
        name: trace(
            build_model(name, in_channels=1, num_classes=10, image_size=8).eval(), nets.images(2)
        )
        for name in BUILT_IN
    },
    "transformer": trace(transformer(), nets.images(2)),
}


def narrowest(graph: GroupGraph) -> npt.NDArray[np.int64]:
    """All groups at their floors; blocks stay."""
    return np.where(graph.is_block, 1, graph.floors)


def channel_groups(graph: GroupGraph) -> npt.NDArray[np.int64]:
    return np.flatnonzero(~graph.is_block)
