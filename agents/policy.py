"""The network behind the policy: the same for every group of any network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from rlprune.config import PPOSettings
from rlprune.envs.observation.table import (
    GROUP,
    GROUPS_SEEN,
    MEASURED_AT,
    STEP_AT,
    observation_space,
)


class GroupExtractor(BaseFeaturesExtractor):
    """Encodes the group and its neighbours by shared weights, and the rest beside them.

    Args:
        space: of observations.
        hidden: units for each.
        description_scale: see `PPOSettings`.
    """

    scales: Tensor

    def __init__(self, space: spaces.Box, hidden: int, description_scale: float) -> None:
        super().__init__(space, (GROUPS_SEEN + 1) * hidden)
        scales = torch.full(space.shape, description_scale)
        scales[list(MEASURED_AT)] = 1.0
        self.register_buffer("scales", scales, persistent=False)
        rest = space.shape[0] - STEP_AT.start
        self.group = nn.Sequential(nn.Linear(len(GROUP), hidden), nn.ReLU())
        self.rest = nn.Sequential(nn.Linear(rest, hidden), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """Encode observations; `(batch, len(OBSERVATION))` -> `(batch, features_dim)`."""
        scaled = observations * self.scales
        groups, rest = scaled[:, : STEP_AT.start], scaled[:, STEP_AT.start :]
        encoded = self.group(groups.reshape(len(groups), GROUPS_SEEN, -1))
        return torch.cat([encoded.flatten(1), self.rest(rest)], dim=1)


class ResidualPolicy(ActorCriticPolicy):
    """Begins with actions of zero, which are the heuristic's plan."""

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        with torch.no_grad():
            for parameter in self.action_net.parameters():
                parameter.zero_()


def policy_arguments(settings: PPOSettings) -> dict[str, Any]:
    """Return what the policy needs to be built, in training and again when loaded."""
    layers = [settings.hidden, settings.hidden]
    return {
        "log_std_init": math.log(settings.initial_std),
        "net_arch": {"pi": layers, "vf": layers},
        "activation_fn": nn.ReLU,
        "features_extractor_class": GroupExtractor,
        "features_extractor_kwargs": {
            "hidden": settings.hidden // 2,
            "description_scale": settings.description_scale,
        },
    }


def new_policy(settings: PPOSettings) -> ResidualPolicy:
    """Build an untrained policy for the current observation schema."""
    return ResidualPolicy(
        observation_space(),
        spaces.Box(-1.0, 1.0, (1,), np.float32),
        lambda _: settings.learning_rate,
        **policy_arguments(settings),
    )
