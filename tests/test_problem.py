"""A problem ties model, data and budget together and refuses what does not fit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from rlprune.allocate.sensitivity import Sensitivity
from rlprune.cache.store import Store
from rlprune.config import LatencySettings, RewardSettings
from rlprune.cost.budget import Budget
from rlprune.data.splits import DataSplits
from rlprune.envs.reward import reward
from rlprune.errors import (
    BudgetError,
    CacheError,
    LatencyError,
    ModelError,
    RLPruneError,
    UnknownNameError,
)
from rlprune.latency.table import OperatorTable
from rlprune.models.registry import LoadedModel
from rlprune.problem import Problem, resolve_device
from rlprune.surgery.plan import Plan
from tests import nets
from tests.oracles import assert_same_tensors
from tests.transformer import transformer

FAST = LatencySettings(batch_size=2, rounds=3, round_ms=0.01)


class Charging:
    """Charges every channel of a group a price of the group."""

    def __init__(self, prices: npt.NDArray[np.float64]) -> None:
        self._prices = prices

    def kept(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(widths) @ self._prices


@pytest.mark.parametrize("budget", ["macs=0.0001", "macs=0.0001,latency=0.5"])
def test_a_budget_out_of_reach_is_refused_before_the_network_is_timed(
    budget: str, digits: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the device, by whose granularity the smallest widths are rounded."""
    monkeypatch.setattr("rlprune.latency.stored.granularity", lambda *_: 8)
    monkeypatch.delattr("rlprune.latency.stored.latency_table")
    with pytest.raises(BudgetError, match="macs can go from"):
        Problem.build("mlp", digits, budget, measure_latency=True)
    with pytest.raises(AttributeError, match="latency_table"):
        Problem.build("mlp", digits, budget.replace("0.0001", "0.5"), measure_latency=True)


def test_a_module_of_the_users_own_becomes_a_problem_under_its_class_name(
    digits: DataSplits,
) -> None:
    network = nets.build("ghost").train()
    before = copy.deepcopy(network)
    problem = Problem.build(network, digits, "macs=0.5", measure_latency=False)
    assert problem.name == "Ghost"
    assert problem.recipe is None
    assert problem.reference.plan.widths[0] % 2 == 0
    assert_same_tensors(network, before)


def test_a_name_is_enough(digits: DataSplits) -> None:
    problem = Problem.build("mlp", "digits", "macs=0.5", measure_latency=False)
    assert problem.name == "mlp"
    assert problem.recipe is not None
    assert problem.recipe["model"] == "mlp"


def test_another_budget_shares_the_profile(fresh_plain: Problem) -> None:
    sensitivity = fresh_plain.sensitivity
    other = fresh_plain.with_budget(Budget.parse("macs=0.3"))
    assert other.sensitivity is sensitivity
    assert other.reference.measurement.macs < fresh_plain.reference.measurement.macs
    assert str(fresh_plain.budget) == "macs=0.5"


def test_another_ranking_keeps_other_channels_and_is_charged_to_the_same_ledger(
    fresh_plain: Problem,
) -> None:
    before = fresh_plain.reference.measurement.score
    ranked = fresh_plain.ranked_by("taylor")
    assert ranked.ledger is fresh_plain.ledger
    equal = np.ones(len(ranked.graph.groups))
    plan = ranked.decode(equal)
    assert plan == fresh_plain.decode(equal, fresh_plain.scores("taylor"))
    assert plan != fresh_plain.decode(equal)
    assert ranked.evaluate(plan) == fresh_plain.evaluate(plan)
    assert ranked.evaluator.fingerprint != fresh_plain.evaluator.fingerprint
    assert ranked.reference.measurement.score != before
    assert fresh_plain.ranked_by("taylor") is ranked
    assert ranked.ranked_by("taylor") is ranked
    assert ranked.with_budget(Budget.parse("macs=0.3")).ranked_by("taylor").ranking == "taylor"


def test_the_ranking_by_norms_is_the_one_of_the_graph(fresh_plain: Problem) -> None:
    assert fresh_plain.ranked_by("l2") is fresh_plain
    scores = fresh_plain.scores("l2")
    assert fresh_plain.graph.ranked_by(scores) == fresh_plain.graph


def test_scores_are_computed_once_for_each_network(
    loaded: Callable[[str], LoadedModel], digits: DataSplits, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    built = [
        Problem.build(loaded("plain_cnn"), digits, measure_latency=False, store=store)
        for _ in range(2)
    ]
    first, second = (one.ranked_by("layer-obs") for one in built)
    assert first.graph == second.graph
    (entry,) = tmp_path.glob("*.json")
    assert "layer-obs" in entry.read_text()


def test_a_budget_out_of_reach_is_refused_before_anything_is_evaluated(
    plain: Problem, digits: DataSplits
) -> None:
    with pytest.raises(BudgetError, match="cannot be reached"):
        Problem.build(plain.evaluator.model, digits, "macs=0.0001", measure_latency=False)
    with pytest.raises(BudgetError, match="cannot be reached"):
        plain.with_budget(Budget.parse("macs=0.0001"))


def test_a_model_with_nothing_to_prune_is_refused_with_the_reason(digits: DataSplits) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(BudgetError, match="nothing in this model can be pruned .*output"):
        Problem.build(network, digits, measure_latency=False)


def test_a_model_for_other_images_is_refused(digits: DataSplits) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(100, 32), nn.Linear(32, 10))
    with pytest.raises(ModelError, match="does not run on an input of shape"):
        Problem.build(network, digits, measure_latency=False)


def test_a_model_with_too_few_outputs_is_refused(digits: DataSplits) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 5))
    with pytest.raises(ModelError, match="expected logits"):
        Problem.build(network, digits, measure_latency=False)


def test_layers_that_the_user_keeps_are_left_out_with_the_reason(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    def build(*keep: str) -> Problem:
        return Problem.build(loaded("resnet20"), digits, measure_latency=False, keep=keep)

    left_out = {item.name: item.reason for item in build("blocks.[12]").graph.left_out}
    kept = {name for name, reason in left_out.items() if reason == "kept by the user (blocks.[12])"}
    assert {"blocks.1.conv1", "blocks.1 (block)", "blocks.2 (block)"} <= kept
    assert "blocks.0.conv1" not in left_out
    with pytest.raises(UnknownNameError, match="did you mean 'blocks.1'"):
        build("block.1")


def test_the_width_of_a_transformer_is_pruned_only_when_asked_for(digits: DataSplits) -> None:
    def names(*, residual_width: bool) -> tuple[str, ...]:
        problem = Problem.build(
            transformer(), digits, measure_latency=False, residual_width=residual_width
        )
        return problem.graph.names

    assert "embed" not in names(residual_width=False)
    assert "embed" in names(residual_width=True)


def test_latency_is_charged_where_it_is_limited_or_asked_for(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    def charged(budget: str, **asked: Any) -> bool:
        problem = Problem.build(loaded("mlp"), digits, budget, latency=FAST, **asked)
        return problem.evaluator.latency is not None

    assert not charged("macs=0.5")
    assert charged("macs=0.5", measure_latency=True)
    assert charged("latency=1")
    with pytest.raises(BudgetError, match="built without latency"):
        charged("latency=1", measure_latency=False)


def test_only_budgets_that_limit_latency_round_to_what_the_device_takes_at_once(
    digits: DataSplits, loaded: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlprune.latency.stored.granularity", lambda *_: 16)
    problem = Problem.build(loaded("mlp"), digits, "latency=1", latency=FAST)
    steps = [min(16, 2 ** int(np.log2(width // 4))) for width in problem.graph.widths]
    assert problem.costs.steps.tolist() == steps
    assert set(problem.with_budget(Budget.parse("macs=0.5")).costs.steps) == {1}
    asked = Problem.build(loaded("mlp"), digits, "macs=0.5", round_to=8)
    assert set(asked.costs.steps) == {8}
    plan = asked.decode(np.ones(len(asked.graph.groups)))
    assert all(w % 8 == 0 or w == d for w, d in zip(plan.widths, asked.graph.widths, strict=True))


def test_a_table_is_measured_once_and_kept(
    digits: DataSplits,
    loaded: Callable[[str], LoadedModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build() -> Problem:
        store = Store(tmp_path)
        return Problem.build(loaded("mlp"), digits, "latency=1", latency=FAST, store=store)

    first = build()

    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("rlprune.latency.stored.measure_table", unexpected)
    monkeypatch.setattr("rlprune.latency.stored.measure_granularity", unexpected)
    assert build().evaluator.latency == first.evaluator.latency
    with pytest.raises(AssertionError, match="measured again"):
        Problem.build(
            loaded("mlp"),
            digits,
            "latency=1",
            latency=FAST.model_copy(update={"batch_size": 3}),
            round_to=1,
            store=Store(tmp_path),
        )


def test_a_table_of_a_run_can_be_used_again_but_not_for_another_network_or_batch(
    digits: DataSplits, loaded: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    first = Problem.build(loaded("mlp"), digits, "latency=1", latency=FAST, round_to=4)
    assert isinstance(first.evaluator.latency, OperatorTable)
    file = tmp_path / "table.json"
    file.write_text(first.evaluator.latency.to_json())

    def build(model: str, latency: LatencySettings = FAST) -> Problem:
        return Problem.build(
            loaded(model), digits, "latency=1", latency=latency, round_to=4, latency_table=file
        )

    assert build("mlp").evaluator.latency == first.evaluator.latency
    with pytest.raises(LatencyError, match="was measured for '.*', and this is '.*'"):
        build("plain_cnn")
    with pytest.raises(LatencyError, match="batches of 3 times"):
        build("mlp", FAST.model_copy(update={"batch_size": 3}))
    foreign = first.evaluator.latency.model_copy(update={"key": "Abacus 3000 (cpu), 1 threads"})
    file.write_text(foreign.to_json())
    with pytest.raises(LatencyError, match="'Abacus 3000"):
        build("mlp")
    file.write_text("{")
    with pytest.raises(LatencyError, match="table.json: the latency table is no JSON"):
        build("mlp")
    file.unlink()
    with pytest.raises(CacheError, match="cannot read the latency table"):
        build("mlp")


def test_the_reward_of_plans_that_keep_more_of_a_dearer_operator_falls(
    digits: DataSplits, loaded: Callable[[str], LoadedModel]
) -> None:
    problem = Problem.build(loaded("plain_cnn"), digits, "macs=0.5")
    settings = RewardSettings(quality=0, macs=0, latency=1)
    rng, groups = np.random.default_rng(0), len(problem.graph.groups)
    plans = [problem.decode(np.exp(rng.normal(0, 0.4, groups))) for _ in range(12)]

    def rewards(prices: list[float]) -> dict[Plan, float]:
        charged = copy.copy(problem.evaluator)
        charged.latency, charged._cache = Charging(np.array(prices)), {}
        same = Sensitivity(np.ones(groups), problem.graph.is_block)
        priced = Problem("net", charged, digits, problem.budget, sensitivity=lambda: same)
        return {plan: reward(priced, priced.evaluate(plan), settings).total for plan in plans}

    even, dear = rewards([1.0] * groups), rewards([1.0, 20.0] + [1.0] * (groups - 2))
    lost = [even[plan] - dear[plan] for plan in plans]
    shares = [plan.widths[1] / plan.widths.sum() for plan in plans]
    assert spearmanr(lost, shares).statistic > 0.99


def test_devices_are_resolved_or_refused_with_a_hint() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda")
    with pytest.raises(RLPruneError, match="use cpu or auto"):
        resolve_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(RLPruneError, match="'cuda' is not available here"):
            resolve_device("cuda")
