"""Training learns, repeats with its seed, and writes what TensorBoard needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from rlprune.agents import train_agent
from rlprune.agents.callbacks import SCALARS
from rlprune.agents.training import WalkedSteps
from rlprune.config import PPOSettings
from rlprune.cost.budget import Budget
from rlprune.evaluate.evaluator import Evaluator
from rlprune.problem import Problem
from rlprune.surgery.plan import Plan
from tests.agents.conftest import NO_LATENCY, Run
from tests.conftest import GetProblem


@pytest.fixture(scope="module")
def events(run: Run) -> EventAccumulator:
    accumulator = EventAccumulator(str(run.folder), size_guidance={"scalars": 0, "tensors": 0})
    return accumulator.Reload()


def text(events: EventAccumulator, tag: str) -> list[str]:
    return [
        event.tensor_proto.string_val[0].decode() for event in events.Tensors(f"{tag}/text_summary")
    ]


def test_every_scalar_is_logged_but_latency_which_is_off(events: EventAccumulator) -> None:
    logged = set(events.Tags()["scalars"])
    assert set(SCALARS) - logged == {"prune/latency_kept"}
    assert {"prune/accuracy", "prune/kl"} <= logged
    assert {"prune/psnr_db", "prune/mse"}.isdisjoint(logged)


def test_an_autoencoder_logs_its_own_quality_and_distance(
    problem_of: GetProblem, tmp_path: Path
) -> None:
    train_agent([problem_of("autoencoder")], 8, rewards=NO_LATENCY, tensorboard=tmp_path)
    logged = set(EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"])
    assert {"prune/psnr_db", "prune/mse"} <= logged
    assert {"prune/accuracy", "prune/kl"}.isdisjoint(logged)


def test_the_kept_share_of_every_group_of_every_network_is_logged(
    run: Run, events: EventAccumulator
) -> None:
    expected = {
        f"group/{problem.name}/{group}/kept"
        for problem in run.problems
        for group in problem.graph.names
    }
    found = {tag for tag in events.Tags()["scalars"] if tag.startswith("group/")}
    assert found == expected
    for tag in found:
        assert all(0 < event.value <= 1 for event in events.Scalars(tag))


def test_blocks_are_logged_as_kept_or_not(problem_of: GetProblem, tmp_path: Path) -> None:
    problem = problem_of("resnet20", "macs=0.5")
    train_agent([problem], 2, rewards=NO_LATENCY, tensorboard=tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload()
    found = {tag for tag in events.Tags()["scalars"] if tag.startswith("group/")}
    assert found == {f"group/resnet20/{name}/kept" for name in problem.graph.names}
    for module in problem.graph.blocks:
        tag = f"group/resnet20/{problem.graph.names[problem.graph.blocks[module]]}/kept"
        assert all(0 <= event.value <= 1 for event in events.Scalars(tag))


def test_stable_baselines_own_scalars_are_there(events: EventAccumulator) -> None:
    expected = {"train/loss", "train/value_loss", "train/policy_gradient_loss", "train/std"}
    assert expected <= set(events.Tags()["scalars"])


def test_logged_values_agree_with_the_returns(run: Run, events: EventAccumulator) -> None:
    totals = [event.value for event in events.Scalars("reward/total")]
    terms = [
        sum(events.Scalars(f"reward/{name}")[i].value for name in ("quality", "macs", "latency"))
        for i in range(len(totals))
    ]
    assert min(run.training.returns) <= min(totals) <= max(totals) <= max(run.training.returns)
    assert all(-2 <= total <= 2 for total in totals)
    if all(abs(value) < 2 for value in run.training.returns):  # else clipped, one by one
        assert totals == pytest.approx(terms, abs=1e-5)
    best = [event.value for event in events.Scalars("best/reward")]
    assert best == sorted(best)
    assert best[-1] == pytest.approx(max(run.training.returns), abs=1e-5)
    kept = [event.value for event in events.Scalars("prune/macs_kept")]
    assert all(0 < value <= 0.5 for value in kept)


def test_best_plans_and_notes_are_texts(run: Run, events: EventAccumulator) -> None:
    assert text(events, "config") == ["episodes: 16"]
    for problem in run.problems:
        plans = text(events, f"best/plan/{problem.name}")
        assert str(problem.budget) in plans[-1]
        assert "Plan(" in plans[-1]
        assert all(group in plans[-1] for group in problem.graph.names)


def test_hyperparameters_and_their_metrics_are_registered(events: EventAccumulator) -> None:
    content = events.PluginTagToContent("hparams")
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= content.keys()
    start = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    hparams = {name: value.number_value for name, value in start.session_start_info.hparams.items()}
    assert hparams["seed"] == 3
    assert hparams["learning_rate"] == pytest.approx(PPOSettings().learning_rate)
    assert hparams["reward_latency"] == 0
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/experiment"])
    metrics = {info.name.tag for info in experiment.experiment.metric_infos}
    assert metrics == {*SCALARS, "prune/accuracy", "prune/kl"}


def test_a_custom_page_lays_the_scalars_out(events: EventAccumulator) -> None:
    content = events.PluginTagToContent("custom_scalars")
    assert content
    (event,) = events.Tensors(next(iter(content)))
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    patterns = [
        tag for page in layout.category for chart in page.chart for tag in chart.multiline.tag
    ]
    ours = {t for t in events.Tags()["scalars"] if t.startswith(("reward/", "prune/", "group/"))}
    assert ours
    assert all(any(re.match(pattern, tag) for pattern in patterns) for tag in ours)


def test_the_record_says_what_the_agent_was_trained_on(run: Run) -> None:
    record, returns = run.training.agent.trained_on, run.training.returns
    assert record == {
        "models": ["mlp", "plain_cnn"],
        "data": ["digits-8"],
        "budgets": ["macs=0.4", "macs=0.5"],
        "episodes": len(returns),
        "seed": 3,
    }
    assert len(returns) == 16
    assert not run.training.interrupted
    assert len(run.training.deterministic) == 2


def test_training_without_a_folder_writes_nothing_and_gives_the_same_agent(run: Run) -> None:
    again = train_agent(run.problems, 16, rewards=NO_LATENCY, seed=3)
    assert again.returns == run.training.returns
    assert again.deterministic == run.training.deterministic
    first, second = again.agent.state(), run.training.agent.state()
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_another_seed_trains_another_agent(run: Run) -> None:
    assert train_agent(run.problems, 16, rewards=NO_LATENCY, seed=4).returns != run.training.returns


@pytest.mark.parametrize(("asked", "done"), [(1, 4), (4, 4), (5, 8)])
def test_episodes_are_rounded_up_to_whole_updates(run: Run, asked: int, done: int) -> None:
    settings = PPOSettings(episodes_per_update=4)
    training = train_agent(run.problems, asked, settings=settings, rewards=NO_LATENCY)
    assert len(training.returns) == training.agent.trained_on["episodes"] == done


def test_an_update_learns_from_every_step_that_was_walked_and_from_no_other(
    problem_of: GetProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = [problem_of("mlp"), problem_of("plain_cnn")]
    batches: list[RolloutBufferSamples] = []
    get = WalkedSteps.get

    def watched(self: WalkedSteps, batch_size: int | None = None) -> Any:
        for batch in get(self, batch_size):
            batches.append(batch)
            yield batch

    monkeypatch.setattr(WalkedSteps, "get", watched)
    settings = PPOSettings(episodes_per_update=12, siblings=2, n_epochs=1)
    returns = train_agent(pool, 12, settings=settings, rewards=NO_LATENCY, seed=2).returns
    (batch,) = batches
    lengths = [len(problem.graph.groups) for problem in pool]
    counts = {walks * lengths[0] + (12 - walks) * lengths[1] for walks in range(2, 12, 2)}
    assert len(batch.observations) in counts
    assert batch.observations.any(1).all()
    # Undiscounted with one payment: every step of a walk returns what the walk was paid.
    assert {round(value, 4) for value in batch.returns.tolist()} == {round(r, 4) for r in returns}
    # A walk is as good as it beats the others on its problem: here a single one.
    margins = {round(abs(a - b), 4) for a, b in zip(returns[::2], returns[1::2], strict=True)}
    assert {round(abs(value), 4) for value in batch.advantages.tolist()} == margins


def test_episodes_that_are_no_whole_sets_of_siblings_are_refused() -> None:
    with pytest.raises(ValueError, match="6 episodes per update are not whole sets of 4"):
        PPOSettings(episodes_per_update=6)


def test_training_goes_on_from_a_given_policy(run: Run) -> None:
    more = train_agent(run.problems, 8, rewards=NO_LATENCY, seed=9, start=run.training.agent)
    assert [before for before, _ in more.deterministic] == [
        after for _, after in run.training.deterministic
    ]


def test_an_interrupted_training_keeps_what_it_has_learnt(
    fresh_plain: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_plain.ranked_by(PPOSettings().ranking).local_changes  # noqa: B018
    evaluate, calls = Evaluator.evaluate_many, []

    def interrupted(self: Evaluator, plans: Sequence[Plan], **options: Any) -> object:
        calls.append(plans)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(self, plans, **options)

    monkeypatch.setattr(Evaluator, "evaluate_many", interrupted)
    training = train_agent([fresh_plain], 64, rewards=NO_LATENCY)
    assert training.interrupted
    assert 0 < len(training.returns) < 64
    assert training.agent.trained_on["episodes"] == len(training.returns)
    assert len(training.deterministic) == 1


def test_the_measurements_of_training_are_in_the_ledger(fresh_plain: Problem) -> None:
    # Profile evaluations are counted apart.
    fresh_plain.ranked_by(PPOSettings().ranking).local_changes  # noqa: B018
    before = fresh_plain.uses()
    training = train_agent([fresh_plain], 16, rewards=NO_LATENCY)
    spent = fresh_plain.ledger.since(before)
    assert spent.profile_evaluations == 0
    # Every episode, and the policy's plan before and after; plans that repeat are cache hits.
    assert len(training.returns) <= spent.evaluations + spent.cache_hits
    assert spent.evaluations <= len(training.returns) + 2


def test_the_agent_learns_to_beat_its_own_start(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "macs=0.3")
    returns = np.array(train_agent([problem], 300, rewards=NO_LATENCY).returns)
    quarter = len(returns) // 4
    assert returns[-quarter:].mean() > returns[:quarter].mean()


def test_an_agent_knows_between_which_budgets_it_was_trained(plain: Problem) -> None:
    problems = [plain.with_budget(Budget.parse(b)) for b in ("macs=0.4", "macs=0.3,params=0.6")]
    first = train_agent(problems, 8, rewards=NO_LATENCY).agent
    assert first.kept == {"macs": (0.3, 0.4), "params": (0.6, 0.6)}
    gentle = [plain.with_budget(Budget.parse("macs=0.9"))]
    assert train_agent(gentle, 8, rewards=NO_LATENCY).agent.kept == {"macs": (0.9, 0.9)}
    more = train_agent(gentle, 8, rewards=NO_LATENCY, start=first).agent
    assert more.kept == {"macs": (0.3, 0.9), "params": (0.6, 0.6)}
