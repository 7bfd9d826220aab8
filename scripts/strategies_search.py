"""Search strategies at equal evaluations, and soft coefficients on an autoencoder.

Networks on digits at equal MACs: evolution, CMA-ES and NSGA-II beside random search, around uniform
and around the heuristic, where the others start; 200 evaluations each, profile evaluations apart,
five seeds of the draws (all search images are used). The score is what is searched: the divergence
to the dense network after the repair.

Soft coefficients (Sundaram et al., arXiv 2507.14882): a Fashion-MNIST autoencoder of linear layers,
784-256-128-32-128-256-784, at half its parameters, without fine-tuning; three trainings. As in the
paper nothing is refitted, neither in the search, which minimises the distance to the dense output
on search images, nor in what is judged, PSNR on the test split; the same plans after the repair are
shown beside. The weights are kept in `runs/strategies-search`. `bench_strategies.py` publishes the
rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import safetensors.torch
import torch
from bench import BenchSettings, Row, spread
from torch import nn
from torch.nn import functional

from rlprune.agents import RandomSearchAgent, agent_named
from rlprune.agents.base import Agent
from rlprune.agents.evolution import EvolutionAgent
from rlprune.agents.gradient import GradientAgent, Slopes
from rlprune.agents.grid import Grid, GridAgent
from rlprune.agents.sampled import CMAESAgent, NSGA2Agent
from rlprune.agents.space import stages
from rlprune.agents.trials import Trials
from rlprune.config import EvaluationSettings
from rlprune.data import DataSplits, load_data
from rlprune.evaluate.evaluator import measure_quality
from rlprune.problem import Problem
from rlprune.progress import track
from rlprune.surgery.plan import Plan

EVALUATIONS, QUICK_EVALUATIONS = 200, 40
CASES = (
    ("plain_cnn", "macs=0.5"),
    ("plain_cnn", "macs=0.3"),
    ("resnet20", "macs=0.5"),
    ("resnet20", "macs=0.3"),
)
SEARCHES: dict[str, Callable[[int], Agent]] = {
    "random around uniform": RandomSearchAgent,
    "random around the heuristic": lambda s: RandomSearchAgent(s, 0.15, around_heuristic=True),
    "evolution": EvolutionAgent,
    "cmaes": CMAESAgent,
    "nsga2": NSGA2Agent,
}
RIVALS = ("random around uniform", "random around the heuristic")

WIDTHS = (784, 256, 128, 32, 128, 256, 784)
EPOCHS, TRAININGS, DRAWS = 2, 3, 5
SCORE = "search score"
PSNR, REPAIRED_PSNR = "PSNR, dB", "PSNR after the repair, dB"
KEPT, SLOPES = "parameters kept, counted", "groups with a slope"
GRADIENT_PAID = ("gradient", "evaluations")
ALL_POINTS = ("grid-unscreened", "points at step 0.1")
# The gradient may also be 0.3 dB behind the grid, at most.
MARGINS = {
    "grid": {"uniform": 1.0, "best of 20 random": 0.3},
    "gradient": {"uniform": 1.0, "best of 20 random": 0.3, "grid": -0.3},
}
FOLDER = Path(__file__).resolve().parents[1] / "runs" / "strategies-search"


def rows(settings: BenchSettings) -> list[Row]:
    """Measure both parts."""
    torch.set_num_threads(settings.threads)
    return [*_searches(settings.quick), *_soft_coefficients(settings.quick)]


def _searches(quick: bool) -> list[Row]:
    evaluations = QUICK_EVALUATIONS if quick else EVALUATIONS
    data, result = load_data("digits"), list[Row]()
    for name, budget in CASES[1:2] if quick else CASES:
        # In single precision on every machine, so that seeds reproduce.
        scoring = EvaluationSettings(precision="float32")
        problem = Problem.build(name, data, budget, evaluation=scoring, measure_latency=False)
        case = f"digits, {name}, {budget}"
        heuristic = problem.reference.measurement.score
        result.append(spread(f"{case}, heuristic", SCORE, [heuristic]))
        scores = {}
        for method, make in SEARCHES.items():
            scores[method], more = _search(problem, f"{case}, {method}", make, evaluations, quick)
            result += more
        result += [_wins(case, rival, scores, evaluations) for rival in RIVALS]
    return result


def _search(
    problem: Problem, case: str, make: Callable[[int], Agent], evaluations: int, quick: bool
) -> tuple[list[float], list[Row]]:
    scores, counts, usage, plans = [], [], [], []
    for seed in range(2 if quick else 5):
        own = problem.fresh()
        _ = own.reference  # profile evaluations are apart
        proposal = make(seed).propose(own, evaluations)
        counts.append(float(own.ledger.evaluations))
        scores.append(own.evaluate(proposal.plan).score)
        usage.append(float(own.budget.usage(own.costs, proposal.plan.widths)))
        plans.append(proposal.plan)
    again = make(0).propose(problem, evaluations).plan == plans[0]
    limit = f"at most {evaluations}"
    return scores, [
        spread(case, SCORE, scores),
        spread(case, "evaluations", counts, limit, max(counts) <= evaluations),
        spread(case, "budget used", usage, "at most 1", max(usage) <= 1.0),
        spread(case, "same plan from the same seed", [float(again)], "1", again),
    ]


def _wins(case: str, rival: str, scores: Mapping[str, Sequence[float]], evaluations: int) -> Row:
    pairs = list(zip(scores["evolution"], scores[rival], strict=True))
    won = [float(ours <= theirs) for ours, theirs in pairs]
    share, n = sum(won) / len(won), len(won)
    metric = f"seeds at least as good at {evaluations} evaluations, share"
    target = "at least 4 of 5"
    return Row(
        f"{case}, evolution and {rival}", metric, share, share, share, n, target, share >= 0.8
    )


def _soft_coefficients(quick: bool) -> list[Row]:
    data = load_data("fashion-mnist")
    found = [_allocations(data, seed, quick) for seed in range(1 if quick else TRAININGS)]
    values = {key: [one[key] for one in found] for key in found[0]}
    case = "Fashion-MNIST autoencoder, params=0.5"
    result = [
        spread(f"{case}, {name}", metric, v, *_verdict(metric, v))
        for (name, metric), v in values.items()
    ]
    fewer = [
        paid / points
        for paid, points in zip(values[GRADIENT_PAID], values[ALL_POINTS], strict=True)
    ]
    metric = "evaluations over points of the unscreened grid at step 0.1"
    result.append(spread(f"{case}, gradient", metric, fewer, "at most 0.1", max(fewer) <= 0.1))
    margins = [(ours, *rival) for ours, rivals in MARGINS.items() for rival in rivals.items()]
    for method, rival, margin in margins:
        pairs = zip(values[method, PSNR], values[rival, PSNR], strict=True)
        better = [ours - theirs for ours, theirs in pairs]
        ok = float(np.mean(better)) >= margin
        target = f"at least {margin:g} dB"
        result.append(spread(f"{case}, {method} - {rival}", PSNR, better, target, ok))
    return result


def _verdict(metric: str, values: Sequence[float]) -> tuple[str, bool | None]:
    if metric == KEPT:
        return "0.48 to 0.5", all(0.48 <= value <= 0.5 for value in values)
    if metric == SLOPES:
        return f"all {len(WIDTHS) - 2}", min(values) == len(WIDTHS) - 2
    return "", None


def _allocations(data: DataSplits, seed: int, quick: bool) -> dict[tuple[str, str], float]:
    """Return what every method reaches on one trained network, `{(method, metric): value}`."""
    model = _autoencoder(data, seed)
    scoring = EvaluationSettings(score="kl", precision="float32")
    problem = Problem.build(model, data, "params=0.5", evaluation=scoring, measure_latency=False)
    allowed = EVALUATIONS
    found = {("dense", PSNR): measure_quality(model, data.test, problem.evaluator.task)}
    for name in ("uniform", "norm-proportional", "knapsack"):
        plan = agent_named(name).propose(problem.fresh()).plan
        found |= _quality(problem, name, [plan])
    drawn = [
        RandomSearchAgent(one).propose(problem.fresh(), 20).plan
        for one in range(2 if quick else DRAWS)
    ]
    found |= _quality(problem, "best of 20 random", drawn)
    agents: tuple[Agent, ...] = (GridAgent(), GridAgent(screened=False), GradientAgent())
    for agent in agents:
        own = problem.fresh()
        plan = agent.propose(own, allowed).plan
        found |= _quality(problem, agent.name, [plan])
        found[agent.name, "evaluations"] = float(own.ledger.evaluations)
        found[agent.name, KEPT] = _counted(problem, plan)
    levels = GridAgent().levels(problem, allowed)
    found["grid", "step of the removed fraction"] = 1 / levels
    found["grid-unscreened", "points at that step"] = float(Grid(problem, levels).size)
    found[ALL_POINTS] = float(Grid(problem, 10).size)
    found["gradient", SLOPES] = _groups_with_slope(problem)
    return found


def _quality(problem: Problem, method: str, plans: Sequence[Plan]) -> dict[tuple[str, str], float]:
    """Return the mean PSNR over plans as they are, and after the repair."""
    evaluator = problem.evaluator
    kinds = {
        PSNR: [plan.apply(evaluator.model) for plan in plans],
        REPAIRED_PSNR: [evaluator.repaired(plan) for plan in plans],
    }
    measure = partial(measure_quality, data=problem.data.test, task=evaluator.task)
    return {(method, kind): fmean(map(measure, models)) for kind, models in kinds.items()}


def _counted(problem: Problem, plan: Plan) -> float:
    """Count the parameters of the physically pruned network, as a share of the dense one's."""
    dense = problem.evaluator.model
    small = plan.apply(dense)
    counts = [sum(p.numel() for p in one.parameters()) for one in (small, dense)]
    return counts[0] / counts[1]


def _groups_with_slope(problem: Problem) -> float:
    own = problem.fresh()
    groups = len(stages(own.graph))
    with Trials(own, 4 * groups, "gradient") as trials:
        slopes = Slopes(own, trials)
        centre = own.decode(np.ones(groups))
        gradient, _ = slopes.at(slopes.kept(centre), 0.0)  # differences of 1.5 channels each way
    return float((gradient != 0).sum())


def _autoencoder(data: DataSplits, seed: int) -> nn.Module:
    """Return the trained network; the weights of each training are kept."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(WIDTHS):
        layers += [nn.Linear(before, after), nn.ReLU()]
    model = nn.Sequential(*layers[:-1], nn.Unflatten(1, data.input_shape))
    path = FOLDER / f"autoencoder_{EPOCHS}-epochs_{seed}.safetensors"
    if path.exists():
        model.load_state_dict(safetensors.torch.load_file(path))
        return model.eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = data.train.loader(128, shuffle=True, seed=seed, drop_last=True)
    for _ in track(range(EPOCHS), "training the autoencoder (epochs)"):
        for images, _targets in batches:
            loss = functional.mse_loss(model(images), images)  # type: ignore[arg-type]
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(model.state_dict(), path)
    return model.eval()
