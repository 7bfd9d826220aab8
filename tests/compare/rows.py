"""Rows that were never measured."""

from __future__ import annotations

from rlprune.compare.cells import Accuracies, Cell, Row


def row(
    method: str,
    seed: int,
    accuracy: float,
    budget: str = "macs=0.4",
    *,
    score: float | None = 0.1,
    kept: float = 0.4,
    plan: str | None = None,
    finetuned: bool = True,
) -> Row:
    last = accuracy if finetuned else None
    return Row(
        model="net",
        method=method,
        budget=budget,
        seed=seed,
        evaluations=10,
        profile_evaluations=3,
        kept_macs=kept,
        kept_params=kept,
        kept_latency=None,
        score_search=score,
        accuracy_repaired=accuracy - 0.2,
        accuracy_50_steps=None,
        accuracy_finetuned=last,
        validation=Accuracies(repaired=accuracy, after_50_steps=None, finetuned=last),
        seconds=1.0,
        training_seconds=2.0,
        best_so_far=((1, 0.3), (4, 0.1)),
        plan=plan or f"{method}-{seed}",
    )


def cell(one: Row) -> Cell:
    return Cell(one.model, one.method, one.budget, one.seed)
