"""Equal fractions, with whichever ranking of channels."""

from __future__ import annotations

import numpy as np
import pytest

from rlprune.allocate.uniform import local, uniform
from rlprune.errors import UnknownNameError
from rlprune.problem import Problem
from tests.conftest import GetProblem


def test_uniform_keeps_the_same_fraction_of_every_group(plain: Problem) -> None:
    graph, widths = plain.graph, uniform(plain).widths
    fractions = widths / graph.widths
    assert np.ptp(fractions) < 0.1  # the decoder spends what is left on single channels


@pytest.mark.parametrize("criterion", ["l1", "random"])
def test_local_keeps_uniform_widths_and_the_best_channels_by_the_criterion(
    criterion: str, problem_of: GetProblem
) -> None:
    problem = problem_of("resnet20", "macs=0.3")
    plan, scores = local(problem, criterion), problem.scores(criterion)
    assert plan.widths.tolist() == uniform(problem).widths.tolist()
    assert plan != uniform(problem)
    for group in problem.graph.groups:
        if group.kind == "channels":
            kept = list(plan.kept[group.name])
            gone = np.setdiff1d(np.arange(group.width), kept)
            values = scores[group.name].numpy()
            assert values[kept].min() >= values[gone].max()


def test_local_by_the_default_criterion_is_uniform(plain: Problem) -> None:
    assert local(plain, "l2") == uniform(plain)


def test_local_refuses_a_criterion_that_does_not_exist(plain: Problem) -> None:
    with pytest.raises(UnknownNameError, match="criterion 'l3'"):
        local(plain, "l3")
