"""Reconstruction errors are those of refitting the readers of a group, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rlprune.allocate.curves import curve_cuts
from rlprune.allocate.reconstruction import reconstruction_errors
from rlprune.evaluate.regression import RIDGE
from rlprune.graph.trace import trace
from rlprune.problem import Problem
from tests.conftest import GetProblem


def test_errors_are_those_of_a_ridge_regression_on_what_stays() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    inputs = torch.randn(200, 6)
    graph = trace(model, inputs[:2])
    cuts = [(0, 12), (0, 8), (0, 4)]
    found = reconstruction_errors(model, graph, inputs, cuts)
    read = model[1](model[0](inputs)).detach().double().numpy()
    y = model(inputs).detach().double().numpy()
    for error, (_, width) in zip(found, cuts, strict=True):
        kept = list(graph.groups[0].keep_best(graph.groups[0].scores, width))
        x = np.column_stack([read[:, kept], np.ones(len(read))])
        old = np.column_stack([model[2].weight.detach().numpy()[:, kept], model[2].bias.detach()]).T
        residual = y - x @ old
        ridge = RIDGE * np.trace(x.T @ x) / x.shape[1] * np.eye(x.shape[1])
        left = residual - x @ np.linalg.solve(x.T @ x + ridge, x.T @ residual)
        share = np.square(left).sum() / np.square(y - y.mean(0)).sum()
        assert error == pytest.approx(share, rel=1e-3, abs=1e-6)
    assert found[0] < 1e-9 < found[1] < found[2]


def test_what_others_say_as_well_costs_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3)).eval()
    with torch.no_grad():
        model[0].weight[4:] = 0.5 * model[0].weight[:4]  # the smaller halves of equal pairs
        model[0].bias[4:] = 0.5 * model[0].bias[:4]
    x = torch.randn(20, 2, 12, 12)
    graph = trace(model, x[:2])
    redundant, needed = reconstruction_errors(model, graph, x, [(0, 4), (0, 3)])
    assert redundant < 1e-3 < 10 * redundant < needed


@pytest.mark.parametrize("name", ["plain_cnn", "resnet20", "mobilenetv2", "densenet", "mlp"])
def test_errors_grow_as_widths_shrink(name: str, problem_of: GetProblem) -> None:
    problem = problem_of(name, "macs=0.5")
    graph = problem.graph
    cuts = curve_cuts(graph)
    errors = _errors(problem)
    assert ((errors >= 0) & (errors <= 1)).all()
    assert errors[0] < 1e-6
    for g in np.flatnonzero(~graph.is_block):
        by_width = sorted((width, errors[i]) for i, (one, width) in enumerate(cuts) if one == g)
        values = [error for _, error in by_width if _ < graph.widths[g]]
        assert values == pytest.approx(sorted(values, reverse=True), abs=0.02)
        assert values[0] > 0


def test_the_network_ends_as_it_was(plain: Problem) -> None:
    model = plain.evaluator.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert _errors(plain).tolist() == _errors(plain).tolist()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert not any(module._forward_hooks for module in model.modules())


def test_errors_foretell_what_a_cut_does_to_the_network(problem_of: GetProblem) -> None:
    problem = problem_of("plain_cnn", "macs=0.5")
    cuts = curve_cuts(problem.graph)[1:]
    losses = [problem.curves[cut] for cut in cuts]
    ranks = np.argsort(np.argsort([_errors(problem)[1:], losses], axis=1), axis=1)
    assert np.corrcoef(ranks)[0, 1] > 0.8


def _errors(problem: Problem) -> np.ndarray:
    inputs, _ = problem.data.train.tensors(128)
    return reconstruction_errors(
        problem.evaluator.model, problem.graph, inputs, curve_cuts(problem.graph)
    )
