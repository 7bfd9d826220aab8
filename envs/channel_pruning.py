"""A pruning problem, or a pool of them, as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlprune.config import RewardSettings
from rlprune.envs.observation.feature import Features
from rlprune.envs.observation.table import observation_space
from rlprune.envs.reward import reward
from rlprune.envs.walk import Walk
from rlprune.evaluate.evaluator import Measurement
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan

Action = npt.NDArray[np.float32]
Step = tuple[Features, float, bool, bool, dict[str, Any]]


class ChannelPruningEnv(gym.Env[Features, Action]):
    """Walk the dependency groups of a network and choose how much of each to keep.

    ## Description
    One episode is one network and one budget. The environment shows the groups of channels (or of
    attention heads) in forward order, then the residual blocks that can be bypassed; the agent
    answers with one number per group. After the last one the resulting allocation is decoded to
    widths that meet the budget by construction, channels and blocks are physically removed, what is
    left is refitted by least squares, and the small network is measured and paid for.
    With several problems, every reset draws one, so that one policy sees many networks and budgets.

    ## Action Space
    `Box(-1, 1, (1,), float32)`. An action `a` multiplies the kept fraction that the heuristic gives
    the group (`rlprune.allocate.heuristic`) by `exp(a)` before the budget is met, so zeros
    everywhere are the heuristic itself, and a common shift of the actions of all channels changes
    nothing. An action below -0.3 removes a block, or puts back one that the heuristic removed; what
    that saves or costs is settled with the channels of the others.

    ## Observation Space
    A `Box` of one length for all networks; the entries, their meanings, units and ranges are, in
    order, `rlprune.envs.OBSERVATION`:

    | block | entries | what |
    |---|---|---|
    | group | structure, cost, norms, sensitivity, local, dynamics | of the group that is decided |
    | neighbours | the same, four times | of two groups on either side, zeros where there is none |
    | step | 3 | actions so far, cost share decided so far |
    | network | budget, training, data | what may be kept, how hard that is for the heuristic |
    | context | the group's, twice | mean and standard deviation over all groups |

    ## Rewards
    0 until the last group, then, with `h` the heuristic's plan on the same network and budget and
    `S` the search score (KL to the dense network after the repair, a loss),
    `clip(w_q log(S_h / S) + w_m log(macs_h / macs) + w_l log(latency_h / latency), -2, 2)`
    with weights from `RewardSettings`; the latency is measured. `info["reward_terms"]` holds the
    terms. Returns are undiscounted (use gamma 1).

    ## Starting State
    The first group of the problem drawn; `reset(options={"problem": i})` chooses it.

    ## Episode End
    Terminates after the last group; never truncates.

    ## Arguments
    * `problem`: a `Problem` or a sequence of them.
    * `settings`: `RewardSettings`, the weights of the reward.

    ## Information
    After the last step `info` holds `plan`, `measurement` (a `Measurement`), `reward_terms`,
    `problem` (its index) and `groups` (kept fraction by group name, 0 or 1 for a block).

    ## Version History
    * v0: first version.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        problem: Problem | Sequence[Problem],
        settings: RewardSettings | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.problems = [problem] if isinstance(problem, Problem) else list(problem)
        self.settings = settings or RewardSettings()
        self.render_mode = render_mode
        self.observation_space: spaces.Box = observation_space()  # type: ignore[assignment]
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.walks = [Walk(p) for p in self.problems]
        self._index = 0

    @property
    def walk(self) -> Walk:
        """The walk in progress."""
        return self.walks[self._index]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Features, dict[str, Any]]:
        """Start at the first group of a problem drawn at random, or of `options["problem"]`."""
        super().reset(seed=seed)
        chosen = (options or {}).get("problem")
        drawn = int(self.np_random.integers(len(self.problems)))
        self._index = drawn if chosen is None else int(chosen)
        self.walk.restart()
        return self.walk.observation(), {"problem": self._index}

    def step(self, action: Action) -> Step:
        """Set the current group's residual; pay after the last group."""
        plan = self.decide(action)
        return self.outcome(plan, None if plan is None else self.walk.problem.evaluate(plan))

    def decide(self, action: Action) -> Plan | None:
        """Set the current group's residual; return the plan to measure after the last group."""
        self.walk.act(float(np.asarray(action).reshape(-1)[0]))
        return self.walk.problem.decode(self.walk.allocation()) if self.walk.done else None

    def outcome(self, plan: Plan | None, measured: Measurement | None) -> Step:
        """Return what a step answers, given what `decide` returned and its measurement."""
        observation, problem = self.walk.observation(), self.walk.problem
        if plan is None or measured is None:
            return observation, 0.0, False, False, {"problem": self._index}
        paid = reward(problem, measured, self.settings)
        kept = dict(zip(problem.graph.names, plan.widths / problem.graph.widths, strict=True))
        info = {
            "problem": self._index,
            "plan": plan,
            "measurement": measured,
            "reward_terms": dict(paid.terms),
            "groups": kept,
        }
        return observation, paid.total, True, False, info

    def render(self) -> str:
        """Return the decisions so far as text."""
        names = self.walk.problem.graph.names
        lines = [
            f"{name}: {self.walk.actions[i]:+.2f}" if i < len(self.walk.actions) else f"{name}: ?"
            for i, name in enumerate(names)
        ]
        return "\n".join(lines)
