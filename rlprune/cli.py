"""The command line: train an agent, apply it, compare methods, review what happened.

`rlprune --version` says which rlprune this is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from rlprune.agents.adapting import AdaptingAgent
from rlprune.agents.bundle import load_agent, save_agent
from rlprune.agents.chosen import Entrant, agent_for, is_search, trained_folder
from rlprune.agents.comparison import compare
from rlprune.agents.fallback import FallbackAgent, agent_or_heuristic
from rlprune.agents.ppo import PPOAgent
from rlprune.agents.registry import STRATEGIES
from rlprune.agents.training import check_same_network, train_agent
from rlprune.agents.workbench import Files
from rlprune.api import budget_or_default, prune_problem
from rlprune.building import data_from, problem_from
from rlprune.compare.presets import filled_in
from rlprune.compare.result import Comparison, read_comparison
from rlprune.compare.resume import continues
from rlprune.config import (
    ApplySettings,
    CompareSettings,
    DemoSettings,
    ExportSettings,
    InspectSettings,
    ReviewSettings,
    SearchSettings,
    TaskSettings,
    TrainSettings,
)
from rlprune.config_file import expand_config
from rlprune.cost.budget import Budget
from rlprune.criteria.registry import criterion_named
from rlprune.data.splits import DataSplits
from rlprune.errors import AgentError, ModelError, RLPruneError, UncoveredError
from rlprune.evaluate.constraints import Constraint
from rlprune.evaluate.ledger import Ledger
from rlprune.evaluate.workers import workers_for
from rlprune.export.exporter import export_model
from rlprune.export.source import example_inputs, model_folder
from rlprune.export.terminal import export_table, export_warning
from rlprune.files import staged_folder, write_text
from rlprune.latency.table import OperatorTable
from rlprune.machine import check_threads, cores
from rlprune.problem import Problem
from rlprune.report.card import model_card
from rlprune.report.comparison import comparison_page
from rlprune.report.comparison_tables import terminal_tables
from rlprune.report.events import open_tensorboard, write_events
from rlprune.report.page import report_page
from rlprune.report.record import pruned_result, search_record, training_result
from rlprune.report.result import RESULT_FILE, Result, TrainingRecord, read_result
from rlprune.report.run_folder import check_free, next_free, write_header
from rlprune.report.terminal import groups_table, result_table, training_table, warnings_of
from rlprune.surgery.storage import load_pruned, save_pruned

console = Console()

Command = (
    Annotated[DemoSettings, tyro.conf.subcommand("demo")]
    | Annotated[InspectSettings, tyro.conf.subcommand("inspect")]
    | Annotated[TrainSettings, tyro.conf.subcommand("train")]
    | Annotated[ApplySettings, tyro.conf.subcommand("apply")]
    | Annotated[CompareSettings, tyro.conf.subcommand("compare")]
    | Annotated[ReviewSettings, tyro.conf.subcommand("review")]
    | Annotated[ExportSettings, tyro.conf.subcommand("export")]
)

DEMO_TRAINED, DEMO_APPLIED, DEMO_BUDGET = "plain_cnn", "mobilenetv2", "macs=0.3"
DEMO_FINETUNE_EPOCHS = 10
DEFAULT_THREADS = 2


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; errors that a user can cause are one line and exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"rlprune {version('rlprune')}")
        return
    try:
        settings: Any = tyro.cli(
            Command,
            prog="rlprune",
            description=__doc__,
            args=expand_config(words),
            config=(tyro.conf.OmitSubcommandPrefixes,),
        )
        run(settings, words)
    except RLPruneError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def run(settings: Any, words: Sequence[str]) -> None:
    """Dispatch settings to their command."""
    if isinstance(settings, TaskSettings | DemoSettings):
        workers = settings.workers if isinstance(settings, SearchSettings) else 1
        threads = settings.threads or max(1, min(DEFAULT_THREADS, cores() // workers))
        check_threads(threads, workers)
        torch.set_num_threads(threads)
    match settings:
        case InspectSettings():
            run_inspect(settings)
        case TrainSettings():
            run_train(settings, words)
        case ApplySettings():
            run_apply(settings, words)
        case CompareSettings():
            run_compare(settings, words)
        case DemoSettings():
            run_demo(settings, words)
        case ReviewSettings():
            run_review(settings)
        case ExportSettings():
            run_export(settings)


def run_inspect(settings: InspectSettings) -> None:
    """Print groups, cost shares, sensitivities and what is left out."""
    data = data_from(settings)
    problem = _problem(settings, settings.model, data, Budget((("macs", 1.0),)))
    console.print(problem.graph.table())
    if settings.sensitivity:
        table = Table(title="divergence with one group alone cut to half, or one block removed")
        table.add_column("group")
        table.add_column("score (higher = more sensitive)", justify="right")
        for name, score in zip(problem.graph.names, problem.sensitivity.scores, strict=True):
            table.add_row(name, f"{score:.5f}")
        console.print(table)


def run_train(settings: TrainSettings, words: Sequence[str]) -> Result:
    """Train an agent and write its run folder; Ctrl-C ends the training, not the writing."""
    check_free(settings.out)
    criterion_named(settings.ppo.ranking)
    start = _agent_to_resume(settings)
    data = data_from(settings)
    budgets = [Budget.parse(text) for text in settings.budget]
    charged = settings.reward.latency > 0 or any(b.limits_latency for b in budgets)
    firsts = [
        _problem(settings, model, data, budgets[0], index, charged)
        for index, model in enumerate(settings.model)
    ]
    problems = [first.with_budget(budget) for first in firsts for budget in budgets]
    _print_reachable(problems)
    write_header(settings.out, settings, words)
    _write_tables(firsts, settings.out)
    started = time.perf_counter()
    with workers_for([first.evaluator for first in firsts], settings.workers):
        training = train_agent(
            problems,
            settings.episodes,
            settings=settings.ppo,
            rewards=settings.reward,
            seed=settings.seed,
            start=start,
            tensorboard=settings.out / "tensorboard",
            notes={"config": f"```json\n{settings.model_dump_json(indent=2)}\n```"},
        )
    save_agent(training.agent, settings.out / "agent")
    labels = [f"{problem.name} at {problem.budget}" for problem in problems]
    record = TrainingRecord(
        episodes=len(training.returns),
        returns=training.returns,
        deterministic=dict(zip(labels, training.deterministic, strict=True)),
        interrupted=training.interrupted,
    )
    ledger = Ledger.total(first.ledger for first in firsts)
    seconds = time.perf_counter() - started
    search = search_record("ppo", ledger, seconds, agent=str(settings.out / "agent"))
    result = training_result(problems, record, search, settings.seed)
    write_text(settings.out / RESULT_FILE, result.to_json())
    write_text(settings.out / "report.html", report_page([result]))
    _show(result)
    console.print(f"agent saved in {settings.out / 'agent'}", soft_wrap=True)
    if training.interrupted:
        raise KeyboardInterrupt
    return result


def _agent_to_resume(settings: TrainSettings) -> PPOAgent | None:
    if settings.resume is None:
        return None
    agent = load_agent(settings.resume)
    check_same_network(agent, settings.ppo)
    return agent


def run_apply(settings: ApplySettings, words: Sequence[str]) -> Result:
    """Prune one model with an agent; the run folder appears whole or not at all."""
    check_free(settings.out)
    agent = (
        _adapting(settings) if settings.adapt else agent_or_heuristic(settings.agent, settings.seed)
    )
    if settings.evaluations and not is_search(settings.agent):
        raise RLPruneError(f"{settings.agent} does not search; leave --evaluations out")
    constraints = [Constraint.parse(text) for text in settings.constraint]
    if constraints and settings.finalists > 1:
        raise RLPruneError(
            "finalists are chosen by validation, which constraints decide already; leave "
            "--finalists or --constraint out"
        )
    budget = budget_or_default(settings.budget, is_constrained=bool(constraints))
    problem = _problem(settings, settings.model, data_from(settings), budget)
    _print_reachable([problem])
    with workers_for([problem.evaluator], settings.workers):
        pruned = prune_problem(
            problem,
            agent,
            settings.evaluations,
            constraints=constraints,
            finalists=settings.finalists,
            finetune_epochs=settings.finetune_epochs,
            recipe=settings.recipe,
            latency=settings.latency,
            seed=settings.seed,
        )
    proposal = pruned.proposal
    search = search_record(
        proposal.method,
        pruned.ledger,
        pruned.seconds,
        agent=None if trained_folder(settings.agent) is None else settings.agent,
        fallback=proposal.fallback,
    )
    result = pruned_result(
        problem,
        pruned.plan,
        pruned.measurements,
        pruned.latency_self_ratio,
        search,
        settings.seed,
        confirmed=pruned.confirmed,
        outcomes=pruned.outcomes,
        runtime=settings.latency.runtime,
    )
    with staged_folder(settings.out) as staging:
        write_header(staging, settings, words)
        _write_tables([problem], staging)
        (staging / RESULT_FILE).write_text(result.to_json())
        (staging / "report.html").write_text(report_page([result]))
        card = model_card(result, loads_alone=".py:" not in problem.name)
        save_pruned(staging / "model", pruned.plan, pruned.model, problem.recipe, card)
        write_events(staging / "tensorboard", result, settings.model_dump_json(indent=2))
    _show(result)
    console.print(f"model saved in {settings.out / 'model'}", soft_wrap=True)
    if pruned.interrupted:
        raise KeyboardInterrupt
    return result


def _adapting(settings: ApplySettings) -> FallbackAgent:
    try:
        agent = agent_for(settings.agent, settings.seed)
    except UncoveredError as error:
        return FallbackAgent(error, settings.seed)
    if not isinstance(agent, PPOAgent):
        raise AgentError(
            f"{settings.agent} is no trained agent that could adapt; leave --adapt out, or give "
            "the folder of one"
        )
    return FallbackAgent(AdaptingAgent(agent, settings.adapt), settings.seed)


def run_compare(settings: CompareSettings, words: Sequence[str]) -> Comparison:
    """Compare methods, or go on with a comparison; every finished cell is kept at once."""
    settings = filled_in(settings, STRATEGIES)
    if not continues(settings):
        check_free(settings.out)
    for method in settings.methods:
        entrant = Entrant.parse(method)
        agent_for(entrant.method, settings.seed)
        asks = entrant.evaluations or entrant.finalists > 1
        if asks and not is_search(entrant.method):
            more = method.removeprefix(entrant.method)
            raise RLPruneError(f"{entrant.method} does not search; leave {more} out")
    data = data_from(settings)
    budgets = [Budget.parse(text) for text in settings.budget]
    charged = any(budget.limits_latency for budget in budgets)
    tables = {m: settings.out / f"latency_table_{i}.json" for i, m in enumerate(settings.model)}
    firsts = {
        model: _problem(settings, model, data, budgets[0], index, charged, known=tables[model])
        for index, model in enumerate(settings.model)
    }
    _print_reachable([first.with_budget(one) for first in firsts.values() for one in budgets])
    write_header(settings.out, settings, words)
    for model, first in firsts.items():
        _write_table(first, tables[model])
    files = Files(
        weights=dict(zip(settings.model, settings.weights, strict=False)),
        tables=tables if charged else {},
    )
    result = compare(settings, firsts, files, lambda line: console.print(line, soft_wrap=True))
    write_text(settings.out / RESULT_FILE, result.to_json())
    write_text(settings.out / "report.html", comparison_page(result))
    _show_comparison(result)
    console.print(f"report: {settings.out / 'report.html'}", soft_wrap=True)
    return result


def run_demo(settings: DemoSettings, words: Sequence[str]) -> None:
    """Train on one network, apply to it and to a network of another family, and report."""
    out = settings.out or next_free(Path("runs/demo"))
    check_free(out)
    console.rule(f"1. train an agent on {DEMO_TRAINED}, digits, {DEMO_BUDGET}")
    train = TrainSettings(
        model=(DEMO_TRAINED,),
        budget=(DEMO_BUDGET,),
        episodes=settings.episodes,
        out=out / "train",
        threads=settings.threads,
        seed=settings.seed,
    )
    results = [run_train(train, words)]
    for number, model in enumerate((DEMO_TRAINED, DEMO_APPLIED), start=2):
        console.rule(f"{number}. apply it to {model} with no further training of the agent")
        apply = ApplySettings(
            agent=str(out / "train" / "agent"),
            model=model,
            budget=DEMO_BUDGET,
            finetune_epochs=DEMO_FINETUNE_EPOCHS,
            out=out / model,
            threads=settings.threads,
            seed=settings.seed,
        )
        results.append(run_apply(apply, words))
    write_text(out / "report.html", report_page(results))
    console.print(f"report: {out / 'report.html'}; next: rlprune review {out}", soft_wrap=True)


def run_review(settings: ReviewSettings) -> None:
    """Print the summary of every run, then serve TensorBoard on them."""
    runs = [run for given in settings.runs for run in _runs_in(given)]
    results = [read_comparison(run / RESULT_FILE) or read_result(run) for run in runs]
    for run, result in zip(runs, results, strict=True):
        console.rule(str(run))
        if isinstance(result, Comparison):
            _show_comparison(result)
        else:
            _show(result)
    if settings.tensorboard:
        open_tensorboard(runs, settings.port, console)


def run_export(settings: ExportSettings) -> None:
    """Write the model of an apply run in another format, unless that computes something else."""
    folder = model_folder(settings.run)
    model = load_pruned(folder, run_files=True)
    out = settings.out or settings.run / "export"
    check = export_model(model, example_inputs(folder), out, settings.format)
    console.print(export_table(check))
    warning = export_warning(check)
    if warning is not None:
        console.print(f"warning: {warning}", style="bold red")
    console.print(f"exported to {check.file}", soft_wrap=True)


def _runs_in(folder: Path) -> list[Path]:
    """Return a run folder itself, or the runs inside a demo's folder."""
    inside = sorted(path.parent for path in folder.glob(f"*/{RESULT_FILE}"))
    return inside if inside and not (folder / RESULT_FILE).is_file() else [folder]


def _show(result: Result) -> None:
    if result.training is not None:
        console.print(training_table(result))
    if result.dense is not None:
        console.print(result_table(result))
        console.print(groups_table(result))
    for text in warnings_of(result):
        console.print(f"warning: {text}", style="bold red")


def _show_comparison(result: Comparison) -> None:
    for table in terminal_tables(result):
        console.print(table)
    for note in result.notes:
        console.print(f"note: {note}", style="bold", soft_wrap=True)


def _problem(
    settings: TaskSettings,
    model: str,
    data: DataSplits,
    budget: Budget,
    index: int = 0,
    charged: bool | None = None,
    known: Path | None = None,
) -> Problem:
    """Build the problem of one of the models; `known` may hold its latency table by now."""
    models = len(settings.model) if isinstance(settings, TrainSettings | CompareSettings) else 1
    tables = settings.latency_table if isinstance(settings, SearchSettings) else ()
    given = _file(tables, "--latency-table", index, models)
    return problem_from(
        settings,
        model,
        data,
        budget,
        weights=_file(settings.weights, "--weights", index, models),
        latency_table=known if known is not None and known.is_file() else given,
        measure_latency=charged,
    )


def _file(files: Sequence[Path], flag: str, index: int, models: int) -> Path | None:
    if len(files) not in (0, models):
        raise ModelError(f"{flag} takes one file per model: {models}, not {len(files)}")
    return files[index] if files else None


def _print_reachable(problems: Sequence[Problem]) -> None:
    """Say what budgets could ask for, before the search."""
    lines = [
        f"{problem.name}: {quantity} can go from {problem.costs.reachable(quantity):.3f} to 1 of "
        f"the dense network's; {kept:g} is asked for"
        for problem in problems
        for quantity, kept in problem.budget.limits
    ]
    for line in dict.fromkeys(lines):
        console.print(line, soft_wrap=True, highlight=False)


def _write_tables(problems: Sequence[Problem], run: Path) -> None:
    """Keep the latency tables with the run, so that it can be repeated with them."""
    for index, problem in enumerate(problems):
        number = f"_{index}" if len(problems) > 1 else ""
        _write_table(problem, run / f"latency_table{number}.json")


def _write_table(problem: Problem, file: Path) -> None:
    table = problem.evaluator.latency
    if isinstance(table, OperatorTable):
        write_text(file, table.to_json())


if __name__ == "__main__":
    main()
