"""Scores without any meaning: what every other criterion has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe, WeightScores


class RandomScores:
    """Uniform in [0, 1), drawn from the probe's seed."""

    name = "random"
    needs: frozenset[Need] = frozenset()

    def channels(self, probe: Probe) -> ChannelScores:
        """Return one draw per channel."""
        generator = torch.Generator().manual_seed(probe.seed)
        draws = {
            group.name: torch.rand(group.width, generator=generator, dtype=torch.float64)
            for group in probe.graph.groups
        }
        return draws | {name: torch.zeros(1).double() for name in _blocks(probe)}

    def weights(self, probe: Probe) -> WeightScores:
        """Return one draw per weight."""
        generator = torch.Generator().manual_seed(probe.seed)
        return {
            name: torch.rand(one.shape, generator=generator, dtype=torch.float64)
            for name, one in probe.model.named_parameters()
            if one.ndim > 1
        }


def _blocks(probe: Probe) -> list[str]:
    return [group.name for group in probe.graph.groups if group.kind == "block"]
