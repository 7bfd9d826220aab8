"""Several processes score plans as one does; what goes wrong in them is one line here."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from rlprune.agents import RandomSearchAgent, train_agent
from rlprune.config import EvaluationSettings, RewardSettings
from rlprune.cost.budget import Budget
from rlprune.data.splits import DataSplits
from rlprune.errors import RLPruneError
from rlprune.evaluate.batches import MOST_SAMPLES
from rlprune.evaluate.scoring import PlanScorer, Scorer
from rlprune.evaluate.tasks import Classification
from rlprune.evaluate.workers import workers_for
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.models.registry import LoadedModel, load_model
from rlprune.problem import Problem
from tests.conftest import ROOT, exact_problem
from tests.oracles import random_plan
from tests.surgery.attention_nets import FEATURES, TOKENS, Encoder, FoldedByConstants

NO_LATENCY = RewardSettings(latency=0)

USER_FILE = """
import torch
from neighbour import WIDTH

class Net(torch.nn.Module):
    def __init__(self, bend):
        super().__init__()
        self.hidden, self.bend = torch.nn.Linear(64, WIDTH), bend
        self.out = torch.nn.Linear(WIDTH, 10)

    def forward(self, x):
        return self.out(self.bend(self.hidden(x.flatten(1))))

def smooth():
    import late
    return Net(late.Smooth())

def sharp():
    return Net(torch.nn.ReLU())
"""
LATE = """
import torch

class Smooth(torch.nn.Softplus):
    pass
"""

CTRL_C = """
import torch
from rlprune.agents import train_agent
from rlprune.config import RewardSettings
from rlprune.evaluate.workers import workers_for
from rlprune.problem import Problem

def score(plans, at_most):
    print("scoring", flush=True)
    return remote.score(plans, at_most)

if __name__ == "__main__":
    torch.set_num_threads(1)
    problem = Problem.build("mlp", measure_latency=False)
    problem.reference
    with workers_for([problem.evaluator], 2):
        remote = problem.evaluator.scorer
        problem.evaluator.scorer = type("Watched", (), {"lanes": 2, "score": staticmethod(score)})
        try:
            train_agent([problem], 10**6, rewards=RewardSettings(latency=0))
        except KeyboardInterrupt:
            pass
    print("ended in order")
"""


@dataclass(frozen=True)
class Both:
    """One network's scorer in this process, and in two others."""

    graph: GroupGraph
    here: PlanScorer
    there: PlanScorer


@pytest.fixture(scope="module", autouse=True)
def two_cores() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlprune.machine.cores", lambda: 2)
        yield


@pytest.fixture(scope="module")
def training(digits: DataSplits, loaded: Callable[[str], LoadedModel]) -> Problem:
    return exact_problem(loaded("plain_cnn"), digits).with_budget(Budget.parse("macs=0.4"))


@pytest.fixture(scope="module")
def both(
    digits: DataSplits,
    loaded: Callable[[str], LoadedModel],
    training: Problem,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mapping[str, Both]]:
    """All networks of these tests, in the same two processes."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "neighbour.py").write_text("WIDTH = 12\n")
    (folder / "late.py").write_text(LATE)
    (folder / "nets.py").write_text(USER_FILE)
    evaluators = {"plain_cnn": training.evaluator, "attention": attention()}
    for name in ("resnet20", "mobilenetv2"):
        problem = Problem.build(loaded(name), digits, measure_latency=False)
        evaluators[name] = problem.evaluator
    for factory in ("smooth", "sharp"):
        model = load_model(f"{folder / 'nets.py'}:{factory}", digits)
        evaluators[factory] = Problem.build(model, digits, measure_latency=False).evaluator
    here = {name: evaluator.scorer for name, evaluator in evaluators.items()}
    with workers_for(list(evaluators.values()), 2):
        yield {n: Both(e.graph, here[n], e.scorer) for n, e in evaluators.items()}
    assert all(evaluators[name].scorer is scorer for name, scorer in here.items())


def attention() -> SimpleNamespace:
    """A network in which surgery has to change the sizes that calls name; several batches."""
    torch.manual_seed(0)
    model, x = Encoder(FoldedByConstants()).eval(), torch.randn(4, TOKENS, FEATURES)
    graph = trace(model, x)
    assert graph.resizes
    x = torch.randn(2 * MOST_SAMPLES + 1, TOKENS, FEATURES)
    targets = torch.zeros(len(x), dtype=torch.int64)
    scorer = Scorer(model, graph, x, targets, Classification(), EvaluationSettings(score="kl"))
    return SimpleNamespace(scorer=scorer, graph=graph)


@pytest.mark.parametrize(
    "name", ["plain_cnn", "resnet20", "mobilenetv2", "attention", "smooth", "sharp"]
)
def test_scores_are_those_of_one_process_in_the_order_of_the_plans(
    name: str, both: Mapping[str, Both]
) -> None:
    one = both[name]
    plans = [random_plan(one.graph, seed) for seed in range(7)]
    here = one.here.score(plans)
    assert one.there.lanes == 2
    assert len(set(here)) > 3
    assert one.there.score(plans) == here
    assert one.there.score(plans[::-1]) == here[::-1]
    assert one.there.score([]) == []


def test_scoring_stops_early_there_too(both: Mapping[str, Both]) -> None:
    one = both["attention"]
    plans = [random_plan(one.graph, seed) for seed in range(6)]
    scores = one.here.score(plans)
    least = min(score.score for score in scores)
    bounded = one.there.score(plans, at_most=least)
    assert bounded == one.here.score(plans, at_most=least)
    assert any(score.is_bound for score in bounded)
    for score, bound in zip(scores, bounded, strict=True):
        assert bound == score or least < bound.score <= score.score * (1 + 1e-6)


def test_an_agent_trained_with_workers_is_the_agent_trained_without(
    both: Mapping[str, Both], training: Problem, fresh_plain: Problem
) -> None:
    assert training.evaluator.scorer.lanes == 2
    alone = fresh_plain.with_budget(training.budget)
    first, second = (
        train_agent([problem], 24, rewards=NO_LATENCY, seed=5) for problem in (alone, training)
    )
    assert first.returns == second.returns
    assert first.deterministic == second.deterministic
    assert alone.ledger == training.ledger
    weights = second.agent.state()
    assert all(torch.equal(tensor, weights[n]) for n, tensor in first.agent.state().items())


def test_a_search_with_workers_finds_what_one_without_finds(
    both: Mapping[str, Both], training: Problem, fresh_plain: Problem
) -> None:
    alone = fresh_plain.with_budget(training.budget)
    first, second = (RandomSearchAgent(3).propose(problem, 9) for problem in (alone, training))
    assert first == second


def test_one_worker_is_no_process(plain: Problem) -> None:
    scorer = plain.evaluator.scorer
    with workers_for([plain.evaluator], 1):
        assert plain.evaluator.scorer is scorer


@pytest.mark.parametrize(
    ("count", "threads", "message"),
    [
        (0, 1, "type --workers 1 --threads 1, or more"),
        (-2, 1, "type --workers 1 --threads 1, or more"),
        (3, 1, "3 workers of 1 threads need 3 cores and this machine has 2; type --workers 2"),
        (2, 2, "2 workers of 2 threads need 4 cores and this machine has 2; type --workers 1"),
    ],
)
def test_more_than_the_machine_has_is_refused(
    count: int, threads: int, message: str, plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    with pytest.raises(RLPruneError, match=message), workers_for([plain.evaluator], count):
        pass


def test_a_network_that_cannot_be_sent_is_named(digits: DataSplits) -> None:
    class Local(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.out = nn.Linear(64, 12), nn.Linear(12, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.hidden(x.flatten(1)).relu())

    evaluator = Problem.build(Local(), digits, measure_latency=False).evaluator
    scorer = evaluator.scorer
    with (
        pytest.raises(RLPruneError, match="cannot be sent .*Local.* or type --workers 1"),
        workers_for([evaluator], 2),
    ):
        pass
    assert evaluator.scorer is scorer


def test_a_process_that_was_killed_is_an_error_that_says_what_to_type(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    problem = Problem.build(loaded("mlp"), digits, measure_latency=False)
    evaluator, plan = problem.evaluator, random_plan(problem.graph, 1)
    with workers_for([evaluator], 2):
        with pytest.raises(BrokenProcessPool):
            evaluator.scorer.processes.submit(os._exit, 9).result()
        with pytest.raises(RLPruneError, match="one of 2 worker processes ended.*--workers 1"):
            problem.evaluate(plan)
    assert math.isfinite(problem.evaluate(plan).score)


def test_a_process_that_cannot_start_says_why(digits: DataSplits, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("WIDTH = 12\n")
    (tmp_path / "nets.py").write_text(USER_FILE)
    model = load_model(f"{tmp_path / 'nets.py'}:sharp", digits)
    problem = Problem.build(model, digits, measure_latency=False)
    (tmp_path / "nets.py").unlink()
    with (
        workers_for([problem.evaluator], 2),
        pytest.raises(RLPruneError, match="worker process failed with .*nets.py"),
    ):
        problem.evaluate(random_plan(problem.graph, 1))


@pytest.mark.parametrize("call", [1, 4])
def test_ctrl_c_ends_all_processes_in_order(call: int, tmp_path: Path) -> None:
    """As a terminal sends it, to all of them: while they start, and while they work."""
    script = tmp_path / "train.py"
    script.write_text(CTRL_C)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    for _ in range(call):
        assert process.stdout.readline() == "scoring\n"
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert output.endswith("ended in order\n")
    for _ in range(100):  # multiprocessing's own tracker of resources ends a moment later
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("processes were left behind")
