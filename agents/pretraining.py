"""Fit a policy to experience around the heuristic, before PPO: the cheap part of training.

Along actions x of channels, the return is taken to be r(x) = g.x - c/2 |x|^2 with one curvature c
for each problem, so that half the difference between the returns of x and -x is g.x. Regressing it
on c m.x, with m the policy's answer, leaves (g - cm)^2 / 2c: m gains what the regression explains.
No g is estimated, in whose place there would be only noise where a network has many groups. Blocks
are worth what returns say of pairs with and without them; the policy is paid for the chance that
its action changes a block.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from rlprune.agents.experience import Experience
from rlprune.agents.policy import ResidualPolicy, new_policy
from rlprune.config import PPOSettings, PretrainingSettings
from rlprune.envs.observation.table import ACTIONS_AT
from rlprune.envs.walk import BLOCK_THRESHOLD

# The flattest problems would count for more than they tell; a share of the median curvature.
_LEAST_CURVATURE = 0.25
_LEAST_VARIANCE = 1e-6  # of directions; there are none where only one group has channels
# Wide enough for blocks on either side of the threshold to be learned from.
_BLOCK_SPREAD, _NONE = 0.5, 1e-6
# A common shift of all channels means nothing, but drifts to where actions are clipped.
_CENTRING = 1.0
_SHRINKAGE = 0.5  # of curvatures and blocks' effects; as if so many pairs had shown none


@dataclass(frozen=True)
class Pretrained:
    """A policy, with what the networks that were kept aside say of it.

    Attributes:
        policy: of the epoch that was best on them.
        gains: predicted return on their problems, on average, before and after every epoch.
    """

    policy: ResidualPolicy
    gains: tuple[float, ...]


def pretrain(
    found: Sequence[Experience], settings: PretrainingSettings, ppo: PPOSettings, seed: int = 0
) -> Pretrained:
    """Fit a policy to all networks but some, which choose the epoch.

    Args:
        found: experience with two networks or more.
        settings: of the fit.
        ppo: of the policy.
        seed: of its initialisation, of which networks are kept aside, and of the batches.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    policy = new_policy(ppo)
    names = sorted({one.network for one in found})
    count = min(max(1, round(settings.kept_aside * len(names))), len(names) - 1)
    aside = set(rng.permutation(names)[:count])
    told = _told(found, settings.caution)
    shown = [one for one in told if one.network not in aside]
    judge = _Batch([one for one in told if one.network in aside])
    optimizer = torch.optim.AdamW(
        policy.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    gains, best = [judge.value(policy)], copy.deepcopy(policy.state_dict())
    for _ in range(settings.epochs):
        for part in np.array_split(rng.permutation(len(shown)), -(-len(shown) // settings.batch)):
            batch = _Batch([shown[i] for i in part])
            optimizer.zero_grad()
            (-batch.gain(policy, _BLOCK_SPREAD)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        gains.append(judge.value(policy))
        if gains[-1] == max(gains):
            best = copy.deepcopy(policy.state_dict())
    policy.load_state_dict(best)
    return Pretrained(policy, tuple(gains))


@dataclass(frozen=True)
class _Told:
    """What the experience of one problem tells.

    Attributes:
        network: its name.
        seen: observations; shape `(groups, len(OBSERVATION))`.
        directions: actions of channels less their mean, 0 for blocks; shape `(groups, pairs)`.
        differences: half the difference of returns along the directions; shape `(pairs,)`.
        curvature: c.
        blocks: return that changing a block adds, 0 for channels; shape `(groups,)`.
    """

    network: str
    seen: Tensor
    directions: Tensor
    differences: Tensor
    curvature: float
    blocks: Tensor


def _told(found: Sequence[Experience], caution: float) -> list[_Told]:
    told = [_of_problem(one) for one in found]
    least = _LEAST_CURVATURE * float(np.median([one.curvature for one in told]))
    return [replace(one, curvature=caution * max(one.curvature, least)) for one in told]


def _of_problem(one: Experience) -> _Told:
    channels = ~one.is_block
    directions = np.zeros_like(one.actions)
    moved = one.actions[:, channels]
    directions[:, channels] = moved - moved.mean(1, keepdims=True)
    changed = one.actions[:, one.is_block] < BLOCK_THRESHOLD
    squares = np.square(directions).sum(1, keepdims=True)
    usual = max(float(squares.mean()), _LEAST_VARIANCE)
    fit = Ridge(_SHRINKAGE, fit_intercept=False)
    fit.fit(np.hstack([-squares / usual, changed]), one.returns.mean(1))
    blocks = np.zeros(len(one.is_block))
    blocks[one.is_block] = fit.coef_[1:]
    differences = (one.returns[:, 0] - one.returns[:, 1]) / 2
    return _Told(
        one.network,
        torch.from_numpy(one.seen),
        torch.from_numpy(directions.T).float(),
        torch.from_numpy(differences).float(),
        float(fit.coef_[0]) * 2 / usual,
        torch.from_numpy(blocks).float(),
    )


class _Batch:
    """Some problems, the rows of their groups one below the other.

    Args:
        told: at least one.
    """

    def __init__(self, told: Sequence[_Told]) -> None:
        self._lengths = torch.tensor([len(one.seen) for one in told])
        self._starts = self._lengths.cumsum(0) - self._lengths
        self._case = torch.arange(len(told)).repeat_interleave(self._lengths)
        self._seen = torch.cat([one.seen for one in told])
        self._directions = torch.cat([one.directions for one in told])
        self._blocks = torch.cat([one.blocks for one in told])
        self._differences = torch.stack([one.differences for one in told])
        self._curvature = torch.tensor([one.curvature for one in told])[:, None]
        squares = self._directions.square().mean(1)
        self._channels = (squares > 0).float()
        self._counts = self._sums(self._channels)
        self._variances = self._sums(squares) / (self._counts - 1).clamp(min=1)

    def gain(self, policy: ResidualPolicy, spread: float) -> Tensor:
        """Return the predicted return, mean over problems, less a little for common shifts.

        Args:
            policy: explores with actions of blocks only.
            spread: standard deviation of these.
        """
        actions = _answers(policy, self._walked(policy))
        along = self._sums(actions[:, None] * self._directions)
        explained = (self._differences - self._curvature / 2 * along) * along
        channels = explained.mean(1) / self._variances.clamp(min=_LEAST_VARIANCE)
        chances = torch.special.ndtr((BLOCK_THRESHOLD - actions) / spread)
        shifts = self._sums(actions * self._channels) / self._counts.clamp(min=1)
        gains = channels + self._sums(chances * self._blocks)
        return (gains - _CENTRING * shifts.square()).mean()

    @torch.no_grad()
    def value(self, policy: ResidualPolicy) -> float:
        """Return the predicted return of the policy without exploration."""
        return float(self.gain(policy, _NONE))

    def _walked(self, policy: ResidualPolicy) -> Tensor:
        """Return the observations with the actions of the policy's own walks."""
        seen = self._seen.clone()
        total = torch.zeros(len(self._lengths))
        for step in range(1, int(self._lengths.max())):
            going = step < self._lengths
            rows = self._starts[going] + step
            with torch.no_grad():
                last = _answers(policy, seen[rows - 1]).clamp(-1.0, 1.0)
            total[going] += last
            seen[rows, ACTIONS_AT] = torch.stack([last, total[going] / step], dim=1)
        return seen

    def _sums(self, of_groups: Tensor) -> Tensor:
        """Sum over the groups of each problem; `(groups, ...)` -> `(problems, ...)`."""
        zeros = torch.zeros(len(self._lengths), *of_groups.shape[1:])
        return zeros.index_add(0, self._case, of_groups)


def _answers(policy: ResidualPolicy, seen: Tensor) -> Tensor:
    """Return the actions without exploration; `(groups, len(OBSERVATION))` -> `(groups,)`."""
    latent, _ = policy.mlp_extractor(policy.extract_features(seen))
    answers: Tensor = policy.action_net(latent)
    return answers.squeeze(1)
