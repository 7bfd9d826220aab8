"""What a vector means, and which groups share a coordinate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlprune.agents.space import MOST_STAGES, Space, stages
from rlprune.data.splits import DataSplits
from rlprune.envs.walk import BLOCK_THRESHOLD, Walk
from rlprune.problem import Problem
from tests.agents.searching import dense_layers
from tests.conftest import GetProblem


def test_zero_is_the_centre(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.4")
    around, uniform = Space(problem, True), Space(problem, False)
    assert around.plan(np.zeros(around.size)) == problem.reference.plan
    assert uniform.plan(np.zeros(uniform.size)) == problem.decode(np.ones(uniform.size))


def test_a_vector_means_what_the_actions_of_an_agent_mean(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20", "macs=0.4")
    actions = np.random.default_rng(3).uniform(-1, 1, len(problem.graph.groups))
    walk = Walk(problem)
    for action in actions:
        walk.act(action)
    np.testing.assert_allclose(Space(problem, True).allocation(actions), walk.allocation())


@settings(max_examples=50)
@given(shift=st.floats(-0.2, 0.2), seed=st.integers(0, 50))
def test_a_common_shift_of_all_channels_means_nothing(
    plain: Problem, shift: float, seed: int
) -> None:
    space = Space(plain, True)
    x = np.random.default_rng(seed).normal(0, 0.2, space.size)
    assert abs(space.plan(x + shift).widths - space.plan(x).widths).max() <= 1


@pytest.mark.parametrize("budget", ["macs=0.4", "macs=0.08"])
def test_every_allocation_near_the_centre_has_its_vector(
    budget: str, problem_of: GetProblem
) -> None:
    problem = problem_of("resnet20", budget)
    space, rng = Space(problem, True), np.random.default_rng(0)
    for _ in range(5):
        allocation = space.allocation(space.near(np.zeros(space.size), rng, 0.3, blocks=2))
        np.testing.assert_allclose(space.allocation(space.vector(allocation)), allocation)


def test_vectors_are_drawn_near_another(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20")
    space, rng = Space(problem, False), np.random.default_rng(0)
    blocks = problem.graph.is_block
    x = np.where(blocks, np.where(np.arange(space.size) % 2, -1.0, 0.0), 0.3)
    drawn = np.array([space.near(x, rng, 0.1, blocks=1.5) for _ in range(400)])
    assert abs(drawn[:, ~blocks].mean() - 0.3) < 0.01
    assert abs(drawn[:, ~blocks].std() - 0.1) < 0.01
    toggled = (drawn < BLOCK_THRESHOLD) != (x < BLOCK_THRESHOLD)
    assert abs(toggled[:, blocks].sum(1).mean() - 1.5) < 0.2


def test_one_coordinate_changes_alone(problem_of: GetProblem) -> None:
    problem = problem_of("resnet20")
    space, rng = Space(problem, False), np.random.default_rng(0)
    drawn = np.array([space.near_in_one(np.zeros(space.size), rng, 0.1) for _ in range(400)])
    assert ((drawn != 0).sum(1) == 1).all()
    assert (drawn != 0).any(0).all()
    assert (drawn[:, problem.graph.is_block] <= 0).all()


def test_few_groups_have_a_coordinate_each(digits: DataSplits) -> None:
    assert stages(dense_layers(digits, 32, 32, 16).graph) == [[0], [1], [2]]


def test_groups_of_one_width_in_a_row_share_a_coordinate(digits: DataSplits) -> None:
    graph = dense_layers(digits, 64, 64, 32, 32, 32, 16, 64).graph
    assert stages(graph) == [[0, 1], [2, 3, 4], [5], [6]]


def test_neighbours_of_similar_width_share_one_where_there_are_too_many(
    digits: DataSplits,
) -> None:
    graph = dense_layers(digits, 64, 32, 30, 16, 64, 8, 36, 40).graph
    assert stages(graph) == [[0], [1, 2], [3], [4], [5], [6, 7]]


@pytest.mark.parametrize("name", ["plain_cnn", "resnet20", "mobilenetv2", "densenet"])
def test_every_group_of_channels_is_in_one_of_at_most_six_stages(
    name: str, problem_of: GetProblem
) -> None:
    graph = problem_of(name).graph
    found = stages(graph)
    assert len(found) <= MOST_STAGES
    members = [g for stage in found for g in stage]
    assert members == np.flatnonzero(~graph.is_block).tolist()
