"""Data without labels: the dense network says what is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from rlprune.calling import tensors_in
from rlprune.cli import main
from rlprune.config import RecipeSettings
from rlprune.data import DataSplits
from rlprune.data.splits import carve
from rlprune.evaluate.batches import forward
from rlprune.evaluate.imitation import imitated
from rlprune.evaluate.tasks import Imitation, Reconstruction
from rlprune.problem import Problem
from rlprune.recipes.finetune import finetune
from tests.conftest import GetProblem


@pytest.fixture
def unlabelled(digits: DataSplits) -> DataSplits:
    images, _ = digits.train.tensors()
    samples = [(image, None) for image in tensors_in(images)[0]]
    return carve("pictures", samples[100:], samples[:100])  # type: ignore[arg-type]


@pytest.fixture
def dense(problem_of: GetProblem) -> nn.Module:
    return problem_of("plain_cnn", "macs=0.5").evaluator.model


def test_targets_are_what_the_network_predicts(unlabelled: DataSplits, dense: nn.Module) -> None:
    data = imitated(dense, unlabelled)
    assert data.num_classes == 10
    for split in (data.train, data.search, data.validation, data.test):
        inputs, targets = split.tensors()
        assert torch.equal(targets, forward(dense, inputs).argmax(1))
    shuffled = next(iter(data.train.loader(64, shuffle=True, seed=1)))
    assert torch.equal(shuffled[1], forward(dense, shuffled[0]).argmax(1))


def test_predictions_are_made_when_they_are_asked_for(
    unlabelled: DataSplits, dense: nn.Module
) -> None:
    data = imitated(dense, unlabelled)
    seen: list[int] = []
    handle = dense.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    data.train.tensors(4)
    once = sum(seen)
    assert 0 < once < len(data.train)
    data.train.tensors(4)
    assert sum(seen) == once
    handle.remove()


def test_labels_stay(digits: DataSplits, dense: nn.Module) -> None:
    assert imitated(dense, digits) is digits


def test_what_returns_no_logits_rebuilds_its_inputs(unlabelled: DataSplits) -> None:
    rebuilding = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    problem = Problem.build(rebuilding, unlabelled, "macs=0.6")
    assert isinstance(problem.evaluator.task, Reconstruction)


def test_a_problem_measures_agreement_and_fine_tuning_raises_it(
    unlabelled: DataSplits, dense: nn.Module
) -> None:
    problem = Problem.build(dense, unlabelled, "macs=0.08")
    evaluator = problem.evaluator
    assert isinstance(evaluator.task, Imitation)
    assert evaluator.validate(dense, problem.data.validation) == 1.0
    plan = problem.reference.plan
    assert problem.evaluate(plan).score > 0
    pruned = evaluator.repaired(plan)
    before = evaluator.validate(pruned, problem.data.validation)
    finetune(pruned, dense, problem.data, evaluator.task, RecipeSettings(), steps=60)
    assert evaluator.validate(pruned, problem.data.validation) > before


def test_the_command_line_prunes_without_labels(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def data():\n"
        "    pictures = torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(0))\n"
        "    samples = [(one, None) for one in pictures]\n"
        "    return samples[:300], samples[300:]\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    conv = torch.nn.Conv2d(1, 16, 3)\n"
        "    return torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.Flatten(),\n"
        "                               torch.nn.Linear(16 * 36, 5))\n"
    )
    words = ["--model", f"{tmp_path}/mine.py:net", "--data", f"{tmp_path}/mine.py:data"]
    rest = ["--budget", "macs=0.5", "--finetune-epochs", "1", "--threads", "1"]
    main(["apply", *words, *rest, "--out", str(tmp_path / "run")])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["dense"]["metric"] == {"name": "agreement", "value": 1.0}
    assert 0.2 < result["finetuned"]["metric"]["value"] <= 1
