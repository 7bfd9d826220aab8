"""Build a `Result` from what a run did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlprune.cost.confirm import Confirmed
from rlprune.evaluate.constraints import Outcome
from rlprune.evaluate.ledger import Ledger
from rlprune.graph.group_graph import Group
from rlprune.problem import Problem
from rlprune.report.measure import describe_device
from rlprune.report.result import (
    BudgetRecord,
    ConstraintRecord,
    GroupRecord,
    LeftOutRecord,
    Measured,
    Result,
    Search,
    TrainingRecord,
)
from rlprune.surgery.plan import Plan


def search_record(
    method: str, ledger: Ledger, seconds: float, *, agent: str | None, fallback: str | None = None
) -> Search:
    """Say how a plan or an agent was found and what that cost."""
    return Search(
        method=method,
        agent=agent,
        profile_evaluations=ledger.profile_evaluations,
        evaluations=ledger.evaluations,
        cache_hits=ledger.cache_hits,
        seconds=seconds,
        fallback=fallback is not None,
        fallback_reason=fallback,
        evaluation_seconds=ledger.seconds,
        best_so_far=ledger.improvements,
    )


def pruned_result(
    problem: Problem,
    plan: Plan,
    measurements: Mapping[str, Measured],
    self_ratio: dict[str, float],
    search: Search,
    seed: int,
    *,
    confirmed: Confirmed | None = None,
    outcomes: Sequence[Outcome] = (),
    runtime: str = "eager",
) -> Result:
    """Record one network that was pruned.

    `confirmed` says what a limited latency came to, and `outcomes` what constraints did.
    """
    return Result(
        command="apply",
        model=problem.name,
        data=problem.data.tag,
        seed=seed,
        device=describe_device(problem.evaluator.device, runtime),
        budgets=_budgets(problem, plan, confirmed),
        constraints=tuple(str(outcome.constraint) for outcome in outcomes),
        constraints_measured=tuple(
            ConstraintRecord(
                constraint=str(outcome.constraint),
                least=outcome.least,
                dense=outcome.dense,
                reached=outcome.reached,
                met=outcome.is_met,
            )
            for outcome in outcomes
        ),
        dense=measurements["dense"],
        pruned=measurements["pruned"],
        finetuned=measurements.get("finetuned"),
        latency_self_ratio=self_ratio,
        search=search,
        groups=_groups(plan),
        left_out=_left_out(problem),
    )


def training_result(
    problems: list[Problem], training: TrainingRecord, search: Search, seed: int
) -> Result:
    """Record the training of an agent on a pool of problems."""
    limits = dict.fromkeys(limit for problem in problems for limit in problem.budget.limits)
    distinct = {problem.name: problem for problem in problems}
    return Result(
        command="train",
        model=", ".join(distinct),
        data=problems[0].data.tag,
        seed=seed,
        device=describe_device(problems[0].evaluator.device),
        budgets=tuple(BudgetRecord(quantity=q, kept=kept, achieved=None) for q, kept in limits),
        search=search,
        left_out=tuple(item for problem in distinct.values() for item in _left_out(problem)),
        training=training,
    )


def _budgets(problem: Problem, plan: Plan, confirmed: Confirmed | None) -> tuple[BudgetRecord, ...]:
    achieved = problem.budget.achieved(problem.costs, plan.widths)
    records = []
    for quantity, kept in problem.budget.limits:
        record = BudgetRecord(quantity=quantity, kept=kept, achieved=achieved[quantity])
        if quantity == "latency" and confirmed is not None:
            latency = confirmed.latency
            found = {
                "achieved": latency.value,
                "interval": (latency.low, latency.high),
                "predicted": confirmed.predicted,
                "self_ratio": latency.self_ratio,
            }
            record = record.model_copy(update=found)
        records.append(record)
    return tuple(records)


def _groups(plan: Plan) -> tuple[GroupRecord, ...]:
    gone = tuple(f"{module}." for module in plan.graph.bypassed(plan.kept))
    return tuple(
        GroupRecord(
            name=group.name,
            width=group.width,
            kept=0 if _inside(group, gone) else len(plan.kept[group.name]),
            kind=group.kind,
            step=group.step,
        )
        for group in plan.graph.groups
    )


def _inside(group: Group, prefixes: tuple[str, ...]) -> bool:
    """Whether all layers of a group begin with one of the prefixes."""
    return all(member.startswith(prefixes) for member in group.members)


def _left_out(problem: Problem) -> tuple[LeftOutRecord, ...]:
    return tuple(
        LeftOutRecord(name=item.name, reason=item.reason) for item in problem.graph.left_out
    )
