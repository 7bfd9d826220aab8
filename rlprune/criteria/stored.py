"""Scores of channels, computed once per network, data and device."""

from __future__ import annotations

import torch

from rlprune.cache.store import Store
from rlprune.criteria.base import ChannelScores, Probe
from rlprune.criteria.registry import channel_scores

_VERSION = 1  # changes with what criteria compute


def stored_scores(name: str, probe: Probe, fingerprint: str, store: Store) -> ChannelScores:
    """Return what `channel_scores` does, or look it up.

    Args:
        name: of a criterion.
        probe: the network and the samples to look at.
        fingerprint: of all that the probe depends on.
        store: where scores are kept.

    Raises:
        CriterionError: if the criterion cannot be computed on the probe.
        UnknownNameError: if there is no such criterion.
    """
    kind = f"scores-{name}-{_VERSION}"
    known = store.get(kind, fingerprint)
    if known is not None:
        return {group: torch.tensor(one, dtype=torch.float64) for group, one in known.items()}
    scores = channel_scores(name, probe)
    store.put(kind, fingerprint, {group: one.tolist() for group, one in scores.items()})
    return scores
