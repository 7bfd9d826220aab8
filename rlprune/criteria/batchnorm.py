"""Scales of BatchNorm: network slimming (Liu et al., ICCV 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from rlprune.criteria.members import summed_over_members
from rlprune.criteria.norms import group_norms
from rlprune.errors import CriterionError

if TYPE_CHECKING:
    from rlprune.criteria.base import ChannelScores, Need, Probe


class BatchNormScale:
    """Mean |gamma| over all BatchNorms that a channel passes.

    The mean, so that a residual group with ten of them stays comparable with a layer of its own.
    Groups without any, such as hidden linear layers, are ranked by their L2 norm, which is on
    another scale: to compare groups, choose a normaliser.
    """

    name = "batchnorm"
    needs: frozenset[Need] = frozenset()

    def channels(self, probe: Probe) -> ChannelScores:
        """Return mean scales, or the L2 norm where there are none.

        Raises:
            CriterionError: if no group of the network has a BatchNorm with scales.
        """
        gammas = {
            f"{name}.weight": module.weight
            for name, module in probe.model.named_modules()
            if isinstance(module, _BatchNorm) and module.affine
        }
        sums = summed_over_members(probe.graph, gammas, torch.abs)
        counts = summed_over_members(probe.graph, gammas, torch.ones_like)
        with_scales = {name for name, count in counts.items() if count.any()}
        if not with_scales:
            raise CriterionError(
                f"criterion {self.name!r} needs BatchNorm layers with scales, and none of the "
                "groups has one; take one without, such as l2"
            )
        norms = group_norms(probe.model, probe.graph)
        return {
            name: one / counts[name].clamp_min(1) if name in with_scales else norms[name]
            for name, one in sums.items()
        }
