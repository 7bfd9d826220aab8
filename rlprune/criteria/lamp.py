"""Layer-adaptive magnitude (LAMP; Lee et al., ICLR 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlprune.criteria.normalise import NORMALISERS, by_what_remains
from rlprune.criteria.norms import group_norms, magnitudes

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe, WeightScores


class LAMP:
    """Squared magnitude over the sum of those in the layer that are not smaller.

    The paper scores single weights. For channels the same is done to group norms, so `lamp` is
    `l2` with the normaliser of that name: it changes comparisons between groups, and no ranking
    within one.
    """

    name = "lamp"
    needs: frozenset[Need] = frozenset()

    def channels(self, probe: Probe) -> ChannelScores:
        """Return normalised group norms."""
        return NORMALISERS["lamp"](group_norms(probe.model, probe.graph))

    def weights(self, probe: Probe) -> WeightScores:
        """Return the paper's scores, layer by layer."""
        return {name: by_what_remains(one) for name, one in magnitudes(probe).items()}
