"""The commands on other tasks than classifying images: more inputs, more outputs, PSNR."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rlprune.calling import call, main_output
from rlprune.cli import main
from rlprune.data.registry import load_data
from rlprune.models._userfile import call_factory
from rlprune.report.result import read_result
from rlprune.surgery.storage import load_pruned

FILE = """
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

bunch = load_digits()
IMAGES = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
CLASSES = bunch.target.tolist()


def divided(samples):
    return samples[:400], samples[400:500]


def two_views():
    return divided([({"image": x, "mirror": x.flip(-1)}, y) for x, y in zip(IMAGES, CLASSES)])


class TwoViews(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(1, 8, 3, padding=1)
        self.mirror = nn.Conv2d(1, 12, 3, padding=1)
        self.bn = nn.BatchNorm2d(20)
        self.mix = nn.Conv2d(20, 16, 3, padding=1)
        self.classifier = nn.Linear(16, 10)

    def forward(self, mirror, image):
        both = torch.cat([self.image(image), self.mirror(mirror)], 1)
        features = F.relu(self.mix(F.relu(self.bn(both)))).mean((2, 3))
        return self.classifier(features), features


def masked_tokens():
    tokens = (IMAGES.flatten(1) * 16).long()
    return divided([({"tokens": x, "mask": x > 0}, y) for x, y in zip(tokens, CLASSES)])


class MaskedTokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 32)
        self.second = nn.Linear(32, 24)
        self.classifier = nn.Linear(24, 10)

    def forward(self, tokens, mask):
        hidden = self.second(F.relu(self.first((tokens / 16).where(mask, -0.5))))
        return {"hidden": hidden, "logits": self.classifier(F.relu(hidden))}


def noisy():
    noise = 0.2 * torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(0))
    level = torch.full((1,), 0.2)
    return divided([((x + e, level), x) for x, e in zip(IMAGES, noise)])


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 12, 3, padding=1)
        self.last = nn.Conv2d(12, 1, 3, padding=1)

    def forward(self, image, level):
        change = self.last(F.relu(self.second(F.relu(self.first(image)))))
        return image + level.view(-1, 1, 1, 1) * change
"""

TASKS = {
    "TwoViews": ("two_views", "accuracy"),
    "MaskedTokens": ("masked_tokens", "accuracy"),
    "Denoiser": ("noisy", "psnr_db"),
}


@pytest.fixture(scope="module")
def user_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("user") / "task.py"
    path.write_text(FILE)
    return path


def trained(out: Path, *words: str) -> Path:
    """An agent that was trained for hardly any time."""
    main(["train", *words, "--episodes", "2", "--threads", "1", "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "agent", "--model", "mlp")


def applied(agent: Path, out: Path, *words: str) -> dict[str, Any]:
    fixed = ("--budget", "macs=0.5", "--threads", "1", "--out", str(out))
    main(["apply", str(agent), *words, *fixed])
    assert read_result(out).pruned is not None
    document: dict[str, Any] = json.loads((out / "result.json").read_text())
    assert document["pruned"]["macs"] <= 0.5 * document["dense"]["macs"]
    assert set(document["pruned"]["latency_ms"]) == {"batch_1", "batch_64"}
    return document


@pytest.mark.parametrize("model", TASKS)
def test_inspect_takes_any_inputs_and_outputs(
    model: str, user_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, _ = TASKS[model]
    words = ["--model", f"{user_file}:{model}", "--data", f"{user_file}:{task}", "--threads", "1"]
    main(["inspect", *words])
    printed = capsys.readouterr().out
    assert {"TwoViews": "mix", "MaskedTokens": "second", "Denoiser": "first"}[model] in printed
    assert "higher = more sensitive" in printed


@pytest.mark.parametrize("model", TASKS)
def test_an_agent_is_trained_on_any_inputs_and_outputs(
    model: str, user_file: Path, tmp_path: Path
) -> None:
    task, _ = TASKS[model]
    words = ("--model", f"{user_file}:{model}", "--data", f"{user_file}:{task}")
    result = read_result(trained(tmp_path / "run", *words))
    assert result.training is not None
    assert all(math.isfinite(episode) for episode in result.training.returns)


@pytest.mark.parametrize("model", TASKS)
def test_apply_prunes_reports_and_saves_whatever_the_model_takes(
    model: str, user_file: Path, agent: Path, tmp_path: Path
) -> None:
    task, metric = TASKS[model]
    spec, data = f"{user_file}:{model}", f"{user_file}:{task}"
    out = tmp_path / "out"
    document = applied(agent, out, "--model", spec, "--data", data, "--finetune-epochs", "1")
    for stage in ("dense", "pruned", "finetuned"):
        assert document[stage]["metric"]["name"] == metric
        assert (document[stage]["accuracy"] is None) == (metric != "accuracy")
    small = load_pruned(out / "model", lambda: call_factory(spec, ValueError))  # type: ignore
    inputs, _ = load_data(data).test.tensors(3)
    with torch.no_grad():
        outputs = call(small, inputs)
        dense = call(call_factory(spec, ValueError), inputs)  # type: ignore
    assert type(outputs) is type(dense)
    assert main_output(outputs).shape == main_output(dense).shape


def test_an_autoencoder_is_measured_in_decibels(agent: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    document = applied(agent, out, "--model", "autoencoder", "--finetune-epochs", "10")
    quality = {}
    for stage in ("dense", "pruned", "finetuned"):
        assert document[stage]["accuracy"] is None
        assert document[stage]["metric"]["name"] == "psnr_db"
        quality[stage] = document[stage]["metric"]["value"]
    assert quality["dense"] > quality["finetuned"] > quality["pruned"] > 0
    assert "psnr_db" in (out / "report.html").read_text()
    assert "psnr_db" in (out / "model" / "README.md").read_text()
