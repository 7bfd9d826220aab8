"""A whole comparison: methods x budgets x seeds, on one network or more."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from rlprune.agents.chosen import Entrant, agent_digest
from rlprune.agents.workbench import Files, bench_for
from rlprune.cache.fingerprint import combined, of_inputs, of_tensors
from rlprune.compare.cells import SCRATCH, Cell, CellFolder, Row
from rlprune.compare.presets import PRESETS
from rlprune.compare.result import Comparison, Dense, Refusal
from rlprune.compare.resume import identity
from rlprune.compare.schedule import Finished, run_cells
from rlprune.compare.training import Training, standard_steps
from rlprune.config import CompareSettings
from rlprune.evaluate.evaluator import measure_quality
from rlprune.problem import Problem
from rlprune.report.measure import describe_device

CELLS = "cells"


def compare(
    settings: CompareSettings,
    problems: Mapping[str, Problem],
    files: Files,
    say: Callable[[str], None],
) -> Comparison:
    """Work on all cells that are not finished, and sum all of them up.

    Args:
        settings: with everything in them that presets fill in; `out` holds finished cells.
        problems: one of each model, which all budgets suit.
        files: of the models.
        say: told in one line how far it is.

    Raises:
        RunError: if finished cells are of another network, other data or other settings.
    """
    any_problem = next(iter(problems.values()))
    steps = settings.finetune_steps
    if steps is None:
        steps = standard_steps(any_problem.data, settings.recipe)
    training = Training(settings.recipe, steps, settings.quick_finetune)
    cells = cells_of(settings)
    common = identity(settings)
    networks = {model: combined(common, _network(one)) for model, one in problems.items()}
    agents = {method: agent_digest(Entrant.parse(method).method) for method in settings.methods}

    def identity_of(cell: Cell) -> str:
        network, agent = networks[cell.model], agents.get(cell.method)
        return network if agent is None else combined(network, agent)

    folder = CellFolder(settings.out / CELLS, identity_of)
    known = folder.read(cells)
    if known:
        say(f"{len(known)} of {len(cells)} cells are finished")
    count = itertools.count(len(known) + 1)

    def finished(cell: Cell, row: Row) -> None:
        folder.write(cell, row)
        say(f"{next(count)} of {len(cells)}: {_line(cell, row)}")

    with bench_for(settings, training, files) as bench:
        outcome = run_cells(cells, known, bench, finished)
    return _comparison(settings, list(problems.values()), steps, outcome).with_statistics()


def cells_of(settings: CompareSettings) -> list[Cell]:
    """Return all cells, seed by seed, so that an interrupted comparison is of use."""
    seeds = range(settings.seed, settings.seed + settings.seeds)
    methods = (*settings.methods, SCRATCH)
    every = itertools.product(seeds, settings.model, settings.budget, methods)
    return [Cell(model, method, budget, seed) for seed, model, budget, method in every]


def _network(problem: Problem) -> str:
    """Digest a network and its data, on whatever device."""
    evaluator = problem.evaluator
    model = evaluator.model
    return combined(
        of_tensors({**dict(model.named_parameters()), **dict(model.named_buffers())}),
        of_inputs(evaluator.inputs),
        of_tensors({"targets": evaluator.targets}),
        problem.data.tag,
    )


def _line(cell: Cell, row: Row) -> str:
    stages = {
        "repaired": row.accuracy_repaired,
        "50 steps": row.accuracy_50_steps,
        "fine-tuned": row.accuracy_finetuned,
    }
    values = ", ".join(f"{name} {value:.4f}" for name, value in stages.items() if value is not None)
    return (
        f"{cell.model} {cell.budget} {cell.method} seed {cell.seed}: {values} "
        f"({row.seconds + row.training_seconds:.1f} s)"
    )


def _comparison(
    settings: CompareSettings, problems: Sequence[Problem], steps: int, outcome: Finished
) -> Comparison:
    evaluator = problems[0].evaluator
    preset = None if settings.preset is None else PRESETS[settings.preset]
    return Comparison(
        model=", ".join(settings.model),
        data=problems[0].data.tag,
        seed=settings.seed,
        seeds=settings.seeds,
        device=describe_device(evaluator.device),
        budgets=settings.budget,
        methods=(*settings.methods, SCRATCH),
        evaluations=settings.evaluations,
        finetune_steps=steps,
        dense=tuple(_dense(model, p) for model, p in zip(settings.model, problems, strict=True)),
        rows=tuple(outcome.rows.values()),
        refused=tuple(
            Refusal(**vars(cell), reason=reason) for cell, reason in outcome.refused.items()
        ),
        notes=(preset.note,) if preset is not None and preset.note else (),
    )


def _dense(model: str, problem: Problem) -> Dense:
    evaluator = problem.evaluator
    return Dense(
        model=model,
        metric=evaluator.task.metric,
        accuracy=measure_quality(evaluator.model, problem.data.test, evaluator.task),
        macs=problem.graph.macs(),
        params=problem.graph.params(),
    )
