"""Agents on disk: `agent.json`, `policy.safetensors` and a README; no pickle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlprune.agents.policy import new_policy
from rlprune.agents.ppo import PPOAgent
from rlprune.config import PPOSettings, RewardSettings
from rlprune.envs.observation.table import OBSERVATION
from rlprune.envs.walk import BLOCK_THRESHOLD, RESIDUAL_SCALE
from rlprune.errors import AgentError, UncoveredError, first_fault
from rlprune.files import staged_folder

AGENT_FILE = "agent.json"
POLICY_FILE = "policy.safetensors"


class AgentFile(BaseModel):
    """What `agent.json` holds.

    Attributes:
        version: of this format.
        algorithm: that trained the policy.
        observation: names of the observation's entries, in order.
        residual_scale: log-ratio that an action of 1 means.
        block_threshold: actions below it remove a block.
        settings: hyperparameters.
        reward: weights of the reward.
        kept: see `PPOAgent`.
        trained_on: models, data and budgets, for the record.
        policy_sha256: digest of `policy.safetensors`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    algorithm: Literal["ppo"] = "ppo"
    observation: tuple[str, ...]
    residual_scale: float
    block_threshold: float
    settings: PPOSettings
    reward: RewardSettings
    kept: dict[str, tuple[float, float]]
    trained_on: dict[str, Any]
    policy_sha256: str


def save_agent(agent: PPOAgent, folder: Path) -> None:
    """Write an agent; the folder appears only when everything has been written."""
    with staged_folder(folder) as staging:
        save_file(agent.state(), staging / POLICY_FILE)
        document = AgentFile(
            observation=tuple(feature.name for feature in OBSERVATION),
            residual_scale=RESIDUAL_SCALE,
            block_threshold=BLOCK_THRESHOLD,
            settings=agent.settings,
            reward=agent.reward,
            kept=agent.kept,
            trained_on=agent.trained_on,
            policy_sha256=_digest(staging / POLICY_FILE),
        )
        (staging / AGENT_FILE).write_text(document.model_dump_json(indent=2))
        (staging / "README.md").write_text(_card(document))


def load_agent(folder: str | Path) -> PPOAgent:
    """Read an agent folder, or the `agent` folder of a training run.

    Raises:
        AgentError: if a file is missing or altered.
        UncoveredError: if the agent was made for other observations.
    """
    folder = Path(folder)
    if not (folder / AGENT_FILE).is_file() and (folder / "agent" / AGENT_FILE).is_file():
        folder = folder / "agent"
    for name in (AGENT_FILE, POLICY_FILE):
        if not (folder / name).is_file():
            raise AgentError(
                f"{folder / name} is missing; give the agent folder that `rlprune train` wrote "
                "(RUN/agent)"
            )
    document = _read(folder / AGENT_FILE)
    _check_schema(document, folder)
    if _digest(folder / POLICY_FILE) != document.policy_sha256:
        raise AgentError(
            f"{folder / POLICY_FILE} was altered after it was saved; copy the agent folder again"
        )
    policy = new_policy(document.settings)
    try:
        policy.load_state_dict(load_file(folder / POLICY_FILE))
    except (SafetensorError, RuntimeError) as error:
        raise AgentError(
            f"{folder / POLICY_FILE} does not fit {AGENT_FILE}; copy the agent folder again"
        ) from error
    policy.set_training_mode(False)
    return PPOAgent(policy, document.settings, document.reward, document.kept, document.trained_on)


def _read(path: Path) -> AgentFile:
    try:
        return AgentFile.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        raise AgentError(
            f"{path} is of another version, was altered or is damaged ({first_fault(error)}); "
            "copy it again, or train the agent again with `rlprune train`"
        ) from error


def _check_schema(document: AgentFile, folder: Path) -> None:
    expected = tuple(feature.name for feature in OBSERVATION)
    if document.observation != expected:
        changed = sorted(set(document.observation) ^ set(expected)) or ["the order of its entries"]
        raise UncoveredError(
            f"the agent in {folder} was made for another observation schema "
            f"(differs in: {', '.join(changed[:3])}); train it again with `rlprune train`"
        )
    meanings = (
        ("residual scale", document.residual_scale, RESIDUAL_SCALE),
        ("block threshold", document.block_threshold, BLOCK_THRESHOLD),
    )
    for name, theirs, ours in meanings:
        if theirs != ours:
            raise UncoveredError(
                f"the agent in {folder} was made for {name} {theirs}, this version uses {ours}; "
                "train it again with `rlprune train`"
            )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _card(document: AgentFile) -> str:
    trained = "\n".join(f"- {key}: {value}" for key, value in document.trained_on.items())
    return (
        "# rlprune agent\n\n"
        "A PPO policy that chooses how much of each dependency group of a network to keep.\n\n"
        f"Trained on:\n\n{trained}\n\n"
        "Apply it: `rlprune apply THIS_FOLDER --model M --data D --budget macs=0.5 --out RUN`\n"
    )
