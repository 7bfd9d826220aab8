"""The Python calls, composed from the library, the environment and the agents."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from rlprune.agents.base import WORSE, Agent, Proposal
from rlprune.agents.chosen import DEFAULT
from rlprune.agents.constrained import smallest
from rlprune.agents.fallback import agent_or_heuristic
from rlprune.calling import repeated
from rlprune.config import LatencySettings, RecipeSettings
from rlprune.cost.budget import Budget
from rlprune.cost.confirm import Confirmed, confirm
from rlprune.data.splits import DataSplits
from rlprune.evaluate.constraints import Constraint, Outcome, Requirements
from rlprune.evaluate.ledger import Ledger
from rlprune.latency.end_to_end import EndToEnd
from rlprune.latency.timing import Ratio
from rlprune.models.registry import LoadedModel
from rlprune.problem import Problem
from rlprune.recipes.finalists import best_finalist
from rlprune.recipes.finetune import finetune, steps_of
from rlprune.report.measure import measure_for_report
from rlprune.report.result import Measured
from rlprune.surgery.plan import Plan

# Reports time longer than a search does: they are made once.
REPORT_ROUNDS = 15
REPORT_ROUND_MS = 20.0


PREFERRED = "validation preferred the heuristic's plan after 50 steps of fine-tuning"
"""A fallback that finalists led to."""


@dataclass(frozen=True)
class Pruned:
    """A pruned network and what it cost.

    Attributes:
        model: physically smaller, refitted, fine-tuned if that was asked for; eval mode.
        plan: which channels and blocks were kept.
        measurements: `{"dense", "pruned"[, "finetuned"]}` on the test split.
        latency_self_ratio: `{batch: dense latency / dense latency}`, ideally 1.
        proposal: the agent's choice.
        ledger: evaluations made for it.
        seconds: the choice took, without fine-tuning and reporting.
        confirmed: latency measured end to end, where the budget limits it; the plan is then the
            one that was confirmed, of the proposal's proportions.
        outcomes: what the plan's network reaches of each constraint, before fine-tuning.
        interrupted: whether Ctrl-C cut it short; half-trained weights are dropped.
    """

    model: nn.Module
    plan: Plan
    measurements: dict[str, Measured]
    latency_self_ratio: dict[str, float]
    proposal: Proposal
    ledger: Ledger
    seconds: float
    interrupted: bool
    confirmed: Confirmed | None = None
    outcomes: tuple[Outcome, ...] = ()


def budget_or_default(text: Budget | str | None, *, is_constrained: bool) -> Budget:
    """Return a budget: where none is given half the MACs, or with constraints all of them."""
    if isinstance(text, Budget):
        return text
    return Budget.parse(text or ("macs=1" if is_constrained else "macs=0.5"))


def prune(
    model: nn.Module | LoadedModel | str,
    data: DataSplits | str = "digits",
    budget: Budget | str | None = None,
    agent: Agent | str | Path | None = None,
    evaluations: int = 0,
    *,
    constraints: Sequence[Constraint | str] = (),
    finetune_epochs: int = 0,
    device: str = "cpu",
    seed: int = 0,
    keep: Sequence[str] = (),
    residual_width: bool = False,
    latency: LatencySettings | None = None,
    round_to: int | None = None,
) -> Pruned:
    """Prune a trained network to a budget; the original is untouched.

    Args:
        model: a trained module, or a name that `--model` accepts.
        data: a name that `--data` accepts, or splits.
        budget: such as `macs=0.5`, the default, or `latency=0.6`; with constraints `macs=1` by
            default.
        agent: an agent, its folder, or the name of a strategy; None takes the agent that ships with
            rlprune.
        evaluations: plans to measure beside the agent's profile before choosing.
        constraints: such as `worst_recall>=0.8` or `accuracy_drop<=0.01`: the network is made as
            small as they allow, in the first quantity of the budget. They are checked on the
            validation split, before fine-tuning.
        finetune_epochs: epochs of the standard recipe after pruning.
        device: torch device.
        seed: of search images, sampled plans and fine-tuning.
        keep: names or patterns of layers that stay as they are; see `rlprune.trace`.
        residual_width: also prune the width that a LayerNorm averages over.
        latency: how latency is measured.
        round_to: widths are multiples of this; see `Problem.build`.
    """
    wanted = [Constraint.parse(c) if isinstance(c, str) else c for c in constraints]
    problem = Problem.build(
        model,
        data,
        budget_or_default(budget, is_constrained=bool(wanted)),
        device=device,
        seed=seed,
        keep=keep,
        residual_width=residual_width,
        latency=latency,
        round_to=round_to,
    )
    if agent is None or isinstance(agent, str | Path):
        agent = agent_or_heuristic(str(agent or DEFAULT), seed)
    return prune_problem(
        problem,
        agent,
        evaluations,
        constraints=wanted,
        finetune_epochs=finetune_epochs,
        latency=latency,
        seed=seed,
    )


def prune_problem(
    problem: Problem,
    agent: Agent,
    evaluations: int = 0,
    *,
    constraints: Sequence[Constraint] = (),
    finalists: int = 1,
    finetune_epochs: int = 0,
    recipe: RecipeSettings | None = None,
    latency: LatencySettings | None = None,
    seed: int = 0,
) -> Pruned:
    """Let an agent choose a plan, apply it, optionally fine-tune, and measure everything."""
    before, started = problem.uses(), time.perf_counter()
    evaluator, aimed = problem.evaluator, problem
    if constraints:
        requirements = Requirements(
            constraints, evaluator.model, problem.data.validation, evaluator.task
        )
        found = smallest(problem, agent, requirements, evaluations)
        aimed, proposal = found.problem, found.proposal
    else:
        proposal = agent.propose(problem, evaluations)
    timing = (latency or LatencySettings()).model_copy(
        update={"rounds": REPORT_ROUNDS, "round_ms": REPORT_ROUND_MS}
    )
    confirmed_of = _confirming(aimed, timing)
    if finalists > 1 and not proposal.interrupted:
        proposal, confirmed = _judged(problem, proposal, finalists, seed, confirmed_of)
    else:
        confirmed = confirmed_of(proposal.plan)
    seconds = time.perf_counter() - started
    plan = proposal.plan if confirmed is None else confirmed.plan
    pruned = evaluator.repaired(plan)
    models = {"dense": evaluator.model, "pruned": pruned}
    interrupted = proposal.interrupted
    if finetune_epochs and not interrupted:
        try:
            models["finetuned"] = _finetuned(
                problem, pruned, finetune_epochs, recipe or RecipeSettings(), seed
            )
        except KeyboardInterrupt:
            interrupted = True
    small = problem.graph.macs(plan)
    macs = {name: small for name in models} | {"dense": problem.graph.macs()}
    measurements, self_ratio = measure_for_report(
        models, macs, problem.data, evaluator.task, timing
    )
    return Pruned(
        model=models.get("finetuned", pruned),
        plan=plan,
        measurements=measurements,
        latency_self_ratio=self_ratio,
        proposal=proposal,
        ledger=problem.ledger.since(before),
        seconds=seconds,
        interrupted=interrupted,
        confirmed=confirmed,
        outcomes=tuple(requirements.check(pruned)) if constraints else (),
    )


def _confirming(problem: Problem, timing: LatencySettings) -> Callable[[Plan], Confirmed | None]:
    """Return what measures a plan end to end where the budget limits latency, and adjusts it."""
    if not problem.budget.limits_latency:
        return lambda plan: None
    evaluator = problem.evaluator
    batch = repeated(evaluator.inputs, timing.batch_size)
    meter = EndToEnd(evaluator.model, batch, timing)

    def measure(candidate: Plan) -> Ratio:
        return meter.kept(candidate.apply(evaluator.model))

    return lambda plan: confirm(plan, problem.budget, problem.costs, measure)


def _judged(
    problem: Problem,
    proposal: Proposal,
    finalists: int,
    seed: int,
    confirmed_of: Callable[[Plan], Confirmed | None],
) -> tuple[Proposal, Confirmed | None]:
    """Let the validation split choose among the best plans and the heuristic's, as confirmed.

    What turns out to miss the budget is not tried, unless all do.
    """
    heuristic = problem.reference.plan
    others = [one for one in (proposal.plan, *proposal.runners_up) if one != heuristic]
    try:
        confirmed = {one: confirmed_of(one) for one in (*others[: finalists - 1], heuristic)}
        met = {plan: found for plan, found in confirmed.items() if found is None or found.met}
        adjusted: dict[Plan, Plan] = {}
        for plan, found in (met or confirmed).items():
            adjusted.setdefault(found.plan if found else plan, plan)
        plan = adjusted[best_finalist(problem, list(adjusted), seed)]
    except KeyboardInterrupt:
        return replace(proposal, interrupted=True), confirmed_of(proposal.plan)
    return _preferring(proposal, plan, heuristic), confirmed[plan]


def _preferring(proposal: Proposal, plan: Plan, heuristic: Plan) -> Proposal:
    """Return the proposal with the plan that validation prefers, and whose that is."""
    if plan == proposal.plan:
        return proposal
    if plan == heuristic:
        return replace(proposal, plan=plan, fallback=proposal.fallback or PREFERRED)
    # A search in the agent's place stays one whichever of its plans is taken.
    reason = None if proposal.fallback == WORSE else proposal.fallback
    return replace(proposal, plan=plan, fallback=reason)


def _finetuned(
    problem: Problem, pruned: nn.Module, epochs: int, settings: RecipeSettings, seed: int
) -> nn.Module:
    evaluator = problem.evaluator
    model = copy.deepcopy(pruned)
    finetune(
        model,
        evaluator.model,
        problem.data,
        evaluator.task,
        settings,
        steps=steps_of(epochs, problem.data, settings),
        seed=seed,
    )
    return model
