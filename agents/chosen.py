"""From what a user types to an agent: the name of a strategy, or the folder of a trained one."""

from __future__ import annotations

from pathlib import Path

from rlprune.agents.base import Agent
from rlprune.agents.bundle import AGENT_FILE, load_agent
from rlprune.agents.registry import agent_named, strategy_named
from rlprune.errors import AgentError, UnknownNameError


def agent_for(text: str, seed: int = 0) -> Agent:
    """Return an agent.

    Args:
        text: an agent folder, the run folder of a training, or a name of `strategy_named`.
        seed: of whatever it draws.

    Raises:
        AgentError: if there is neither, with the closest name, or the folder is damaged.
    """
    if is_folder(text):
        agent = load_agent(text)
        agent.seed = seed
        return agent
    try:
        return agent_named(text, seed)
    except UnknownNameError as error:
        raise AgentError(f"{Path(text) / AGENT_FILE} is missing, and {error}") from error


def with_allowance(text: str) -> tuple[str, int | None]:
    """Split `METHOD@EVALUATIONS`, as comparisons take it; None where nothing is said.

    Args:
        text: what `agent_for` takes, maybe with an allowance of evaluations beside its profile.
    """
    method, at, count = text.rpartition("@")
    return (method, int(count)) if at and count.isdecimal() else (text, None)


def is_search(text: str) -> bool:
    """Whether an agent uses evaluations beside those of a profile."""
    return is_folder(text) or strategy_named(text).searches


def is_folder(text: str) -> bool:
    """Whether a trained agent lies there."""
    folder = Path(text)
    return (folder / AGENT_FILE).is_file() or (folder / "agent" / AGENT_FILE).is_file()
