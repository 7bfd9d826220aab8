"""The Python calls of the README."""

from __future__ import annotations

import copy

import pytest
import torch

import rlprune
from rlprune.agents import RandomSearchAgent
from rlprune.api import prune_problem
from rlprune.config import LatencySettings
from rlprune.data.registry import load_data
from rlprune.models.registry import load_model
from tests.transformer import transformer

DATA = load_data("digits")


def test_prune_meets_its_budgets_and_leaves_the_model_as_it_was() -> None:
    model = load_model("plain_cnn", DATA).module.train()
    before = copy.deepcopy(model.state_dict())
    result = rlprune.prune(model, DATA, "macs=0.5,params=0.4")
    dense, pruned = result.measurements["dense"], result.measurements["pruned"]
    assert pruned.macs <= 0.5 * dense.macs
    assert pruned.params <= 0.4 * dense.params
    assert pruned.params == sum(p.numel() for p in result.model.parameters())
    assert dense.accuracy is not None
    assert dense.accuracy > 0.95
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_prune_counts_what_the_agent_evaluated() -> None:
    result = rlprune.prune("mlp", DATA, "macs=0.5", RandomSearchAgent(seed=1), evaluations=5)
    assert result.ledger.evaluations + result.ledger.cache_hits == 5
    assert result.proposal.history == tuple(sorted(result.proposal.history, reverse=True))


def test_prune_leaves_alone_what_is_to_be_kept() -> None:
    result = rlprune.prune("plain_cnn", DATA, "macs=0.6", keep=("features.0",))
    dense = load_model("plain_cnn", DATA).module.get_submodule("features.0")
    assert torch.equal(result.model.get_submodule("features.0").weight, dense.weight)
    assert result.measurements["pruned"].macs <= 0.6 * result.measurements["dense"].macs


def test_prune_narrows_a_transformer_when_asked_for() -> None:
    network = transformer()
    result = rlprune.prune(network, DATA, "params=0.2", agent="uniform", residual_width=True)
    assert result.model.get_submodule("embed").out_features < network.embed.out_features


def test_an_interrupted_fine_tuning_still_gives_the_pruned_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rlprune.api.finetune", interrupt)
    problem = rlprune.Problem.build("mlp", DATA, "macs=0.5", measure_latency=False)
    fast = LatencySettings(rounds=3, round_ms=0.1)
    result = prune_problem(problem, RandomSearchAgent(), 2, finetune_epochs=1, latency=fast)
    assert result.interrupted
    assert set(result.measurements) == {"dense", "pruned"}


def test_every_public_name_can_be_imported_and_others_are_refused() -> None:
    assert all(getattr(rlprune, name) is not None for name in rlprune.__all__)
    with pytest.raises(AttributeError, match="no attribute 'prone'"):
        _ = rlprune.prone
