"""From what a user types to an agent: the name of a strategy, or the folder of a trained one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rlprune.agents.base import Agent
from rlprune.agents.bundle import AGENT_FILE, load_agent
from rlprune.agents.registry import agent_named, strategy_named
from rlprune.cache.fingerprint import combined, of_tensors
from rlprune.errors import AgentError, UnknownNameError

DEFAULT = "default"
"""Names the agent that ships with the package."""

_WITH_ALLOWANCE = re.compile(r"(?P<method>.+)@(?P<evaluations>\d+)(/(?P<finalists>[1-9]\d*))?")

_SHIPPED = Path(__file__).parent / "pretrained" / DEFAULT


def agent_for(text: str, seed: int = 0) -> Agent:
    """Return an agent.

    Args:
        text: `DEFAULT`, an agent folder, the run folder of a training, or a name of
            `strategy_named`.
        seed: of whatever it draws.

    Raises:
        AgentError: if there is neither, with the closest name, or the folder is damaged.
    """
    folder = trained_folder(text)
    if folder is None:
        try:
            return agent_named(text, seed)
        except UnknownNameError as error:
            if not Path(text).exists():
                raise AgentError(f"there is no folder {text}, and {error}") from error
            folder = Path(text)
    agent = load_agent(folder)
    agent.seed = seed
    return agent


@dataclass(frozen=True)
class Entrant:
    """What a comparison asks: `METHOD`, `METHOD@EVALUATIONS` or `METHOD@EVALUATIONS/FINALISTS`.

    Attributes:
        method: what `agent_for` takes.
        evaluations: that it may make beside its profile; None where nothing is said.
        finalists: best plans, of which validation chooses one after a short fine-tuning.
    """

    method: str
    evaluations: int | None = None
    finalists: int = 1

    @classmethod
    def parse(cls, text: str) -> Entrant:
        """Return what a user has typed."""
        typed = _WITH_ALLOWANCE.fullmatch(text)
        if typed is None or trained_folder(text) is not None:
            return cls(text)
        return cls(typed["method"], int(typed["evaluations"]), int(typed["finalists"] or 1))


def is_search(text: str) -> bool:
    """Whether an agent uses evaluations beside those of a profile."""
    return trained_folder(text) is not None or strategy_named(text).searches


def agent_digest(text: str) -> str | None:
    """Digest what a trained agent answers with; None where the text means none."""
    folder = trained_folder(text)
    if folder is None:
        return None
    agent = load_agent(folder)
    return combined(agent.settings.model_dump_json(), of_tensors(agent.state()))


def trained_folder(text: str) -> Path | None:
    """Return where a trained agent lies, or None where the text means none."""
    folder = _SHIPPED if text == DEFAULT else Path(text)
    known = (folder / AGENT_FILE, folder / "agent" / AGENT_FILE)
    return folder if any(path.is_file() for path in known) else None
