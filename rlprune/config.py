"""Frozen, validated settings shared by the library and the command line."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Quantity = Literal["macs", "params"]
"""What a budget may limit; 1 MAC = 2 FLOPs."""


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LatencySettings(Settings):
    """How latency is measured."""

    batch_size: int = Field(default=64, ge=1)
    """Images per timed forward pass."""
    threads: int = Field(default=2, ge=1)
    """CPU threads while timing and evaluating."""
    rounds: int = Field(default=5, ge=3)
    """Interleaved rounds; the median over rounds is reported."""
    round_ms: float = Field(default=4.0, gt=0)
    """Least time, in milliseconds, that each model runs per round."""


class RewardSettings(Settings):
    """Weights of the terminal reward; every term is relative to the heuristic's plan."""

    quality: float = Field(default=1.0, ge=0)
    """Weight of log(heuristic score / score), the search score being a loss."""
    macs: float = Field(default=0.1, ge=0)
    """Weight of log(heuristic MACs / MACs)."""
    latency: float = Field(default=0.1, ge=0)
    """Weight of log(heuristic latency / latency), measured; 0 turns measuring off."""
    clip: float = Field(default=2.0, gt=0)
    """The reward stays in [-clip, clip]."""


class PPOSettings(Settings):
    """Hyperparameters of PPO (Schulman et al., 2017) for short episodes with one reward."""

    learning_rate: float = Field(default=2e-3, gt=0)
    """Adam step size."""
    episodes_per_update: int = Field(default=8, ge=2)
    """Episodes collected before each update."""
    n_epochs: int = Field(default=8, ge=1)
    """Passes over the collected episodes per update."""
    clip_range: float = Field(default=0.2, gt=0)
    """Largest change of the action probability ratio per update."""
    entropy_coefficient: float = Field(default=0.0, ge=0)
    """Weight of the entropy bonus."""
    initial_std: float = Field(default=0.4, gt=0)
    """Standard deviation of the actions at the start, in units of the action range."""
    hidden: int = Field(default=64, ge=1)
    """Units in each of the two hidden layers of policy and value function."""
