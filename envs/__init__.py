"""A pruning problem as a Gymnasium environment: observation, walk, reward.

Import it as `rlprune.envs`; the environment is `rlprune.envs:RLPrune/ChannelPruning-v0`.
"""

if __name__ != "rlprune.envs":
    raise ImportError("import rlprune.envs, not the folder envs/")

import gymnasium

from rlprune.envs.channel_pruning import ChannelPruningEnv
from rlprune.envs.observation.feature import Feature
from rlprune.envs.observation.table import OBSERVATION
from rlprune.envs.reward import Reward, reward
from rlprune.envs.walk import Walk

ENV_ID = "RLPrune/ChannelPruning-v0"

gymnasium.register(id=ENV_ID, entry_point="rlprune.envs.channel_pruning:ChannelPruningEnv")

__all__ = [
    "ENV_ID",
    "OBSERVATION",
    "ChannelPruningEnv",
    "Feature",
    "Reward",
    "Walk",
    "reward",
]
