"""Tables predict a planted cost; the contract holds for all networks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from rlprune.config import LatencySettings
from rlprune.cost.analytic import Widths
from rlprune.errors import RLPruneError
from rlprune.graph.group_graph import GroupGraph
from rlprune.graph.trace import trace
from rlprune.latency.curve import Curve
from rlprune.latency.draw import draw_widths
from rlprune.latency.measure import measure_anchors, measure_points, measure_table
from rlprune.latency.table import OperatorTable
from rlprune.models.registry import BUILTIN_NAMES
from rlprune.surgery.plan import Plan
from tests import nets
from tests.conftest import GetProblem
from tests.latency.fake_clock import SETTINGS, ChargedLayers, ChargedOperations, random_images
from tests.surgery.attention_nets import CASES as ATTENTION
from tests.surgery.attention_nets import FEATURES, TOKENS, Encoder
from tests.surgery.image_nets import CASES as IMAGE
from tests.surgery.image_nets import Between

KEY = "this device, this network"
IMAGES = random_images(2, 1, 8, 8)


def charged_table(
    model: nn.Module, graph: GroupGraph, inputs: Tensor, **options: Any
) -> OperatorTable:
    """A table of a machine whose operations take known times."""
    with ChargedOperations() as machine:
        options = {"plans": 10, "anchors": 3, "clock": machine.clock, **options}
        return measure_table(model, graph, inputs, SETTINGS, KEY, **options)


@pytest.fixture(scope="module", params=BUILTIN_NAMES)
def built_in(request: pytest.FixtureRequest, problem_of: GetProblem) -> tuple[Any, OperatorTable]:
    evaluator = problem_of(request.param).evaluator
    return evaluator, charged_table(evaluator.model, evaluator.graph, IMAGES, multiple=8)


def shrunk(graph: GroupGraph, widths: Widths) -> Widths:
    """The same plan with each group one step narrower; shape `(groups, groups)`."""
    return np.maximum(widths - np.diag(graph.steps), graph.floors)


def test_the_dense_network_keeps_all_its_latency(built_in: tuple[Any, OperatorTable]) -> None:
    evaluator, table = built_in
    assert float(table.kept(evaluator.graph.widths)) == 1.0


def test_latency_never_rises_when_a_group_shrinks(built_in: tuple[Any, OperatorTable]) -> None:
    evaluator, table = built_in
    for widths in draw_widths(evaluator.graph, 8, 1, seed=5):
        kept = table.kept(widths)
        assert 0.0 < kept <= 1.0
        assert (table.kept(shrunk(evaluator.graph, widths)) <= kept + 1e-12).all()


def test_many_plans_at_once_are_predicted_like_one_by_one(
    built_in: tuple[Any, OperatorTable],
) -> None:
    evaluator, table = built_in
    widths = draw_widths(evaluator.graph, 6, 1, seed=5)
    one_by_one = [float(table.kept(one)) for one in widths]
    assert table.kept(widths) == pytest.approx(one_by_one)
    stacked = table.kept(widths.reshape(2, 3, -1))
    assert stacked.shape == (2, 3)
    assert stacked.ravel() == pytest.approx(one_by_one)


def test_a_table_survives_json(built_in: tuple[Any, OperatorTable]) -> None:
    evaluator, table = built_in
    again = OperatorTable.from_json(table.to_json(), KEY)
    assert again == table
    widths = draw_widths(evaluator.graph, 6, 1, seed=5)
    assert (again.kept(widths) == table.kept(widths)).all()


def test_what_a_removed_block_holds_costs_nothing(built_in: tuple[Any, OperatorTable]) -> None:
    evaluator, table = built_in
    graph = evaluator.graph
    for block, group in graph.blocks.items():
        gone = graph.widths.copy()
        gone[group] = 0
        assert table.kept(gone) < 1.0
        inside = [i for i, one in enumerate(graph.groups) if one.name.startswith(f"{block}.")]
        narrow = gone.copy()
        narrow[inside] = graph.floors[inside]
        assert table.predicted(narrow) == pytest.approx(float(table.predicted(gone)))


def test_planted_costs_are_predicted(built_in: tuple[Any, OperatorTable]) -> None:
    evaluator, table = built_in
    widths = draw_widths(evaluator.graph, 6, 8, seed=5)
    with ChargedOperations() as machine:
        anchors, _ = measure_anchors(
            evaluator.model, evaluator.graph, IMAGES, widths, SETTINGS, machine.clock
        )
    assert table.kept(widths) == pytest.approx([a.kept for a in anchors], rel=0.06)


def convolutions() -> nn.Sequential:
    layers = [(3, 16), (16, 24), (24, 12), (12, 20)]
    mixed = [m for sizes in layers for m in (nn.Conv2d(*sizes, 1), nn.ReLU())]
    return nn.Sequential(*mixed, nn.Flatten(), nn.Linear(20, 2)).eval()


def test_a_planted_product_of_channels_is_recovered_exactly() -> None:
    def cost(layer: nn.Module, ins: int, outs: int) -> float:
        return 1e-3 * (5 + 0.5 * ins + 0.25 * outs + 0.125 * ins * outs)

    model, inputs = convolutions(), random_images(2, 3, 1, 1)
    graph = trace(model, inputs)
    with ChargedLayers(cost) as clock:
        table = measure_table(model, graph, inputs, SETTINGS, KEY, clock=clock)
        widths = draw_widths(graph, 20, 1, seed=9)
        anchors, _ = measure_anchors(model, graph, inputs, widths, SETTINGS, clock)
    assert table.kept(widths) == pytest.approx([a.kept for a in anchors], rel=1e-6)


def test_a_planted_staircase_is_recovered_exactly() -> None:
    def cost(layer: nn.Module, ins: int, outs: int) -> float:
        return 1e-3 * (-(-ins // 8)) * (-(-outs // 8))

    model, inputs = convolutions(), random_images(2, 3, 1, 1)
    graph = trace(model, inputs)
    with ChargedLayers(cost) as clock:
        table = measure_table(model, graph, inputs, SETTINGS, KEY, multiple=8, clock=clock)
        widths = draw_widths(graph, 20, 1, seed=9)
        anchors, _ = measure_anchors(model, graph, inputs, widths, SETTINGS, clock)
    assert table.kept(widths) == pytest.approx([a.kept for a in anchors], rel=1e-6)


def test_an_operator_that_takes_longer_raises_plans_that_keep_more_of_it() -> None:
    model, inputs = convolutions(), random_images(2, 3, 1, 1)
    graph = trace(model, inputs)

    def table_of(slow: int) -> OperatorTable:
        def cost(layer: nn.Module, ins: int, outs: int) -> float:
            return 1e-3 * ins * outs * (10.0 if outs <= 24 and ins == slow else 1.0)

        # The input of the first layer is never pruned, so that it can be told by its 3 channels.
        with ChargedLayers(cost) as clock:
            return measure_table(model, graph, inputs, SETTINGS, KEY, clock=clock)

    slow, even = table_of(3), table_of(-1)
    keeps_first, keeps_last = graph.widths.copy(), graph.widths.copy()
    keeps_first[1:], keeps_last[:-1] = graph.floors[1:], graph.floors[:-1]
    assert slow.kept(keeps_first) > even.kept(keeps_first)
    assert slow.kept(keeps_first) > slow.kept(keeps_last)
    assert even.kept(keeps_first) < even.kept(keeps_last)


def test_the_real_clock_runs_every_plan_for_real() -> None:
    model, inputs = convolutions(), random_images(2, 3, 1, 1)
    graph = trace(model, inputs)
    charged = ChargedLayers(lambda *_: 0.0)
    with charged:
        _, seconds = measure_points(model, graph, inputs, draw_widths(graph, 4, 1), charged.clock)
    assert charged.calls == 4 * 3 * 3 * 5  # plans, rounds, passes of each, layers
    assert seconds == 0.0
    table = measure_table(model, graph, inputs, SETTINGS, KEY, plans=4, anchors=2)
    assert all(sum(point.ms.values()) > 0.0 for point in table.points)
    assert table.passes > 4


def test_a_table_can_learn_more_plans() -> None:
    model, inputs = convolutions(), random_images(2, 3, 1, 1)
    graph = trace(model, inputs)
    with ChargedLayers(lambda layer, ins, outs: 1e-3 * (9 * ins + outs)) as clock:
        table = measure_table(model, graph, inputs, SETTINGS, KEY, plans=2, anchors=1, clock=clock)
        widths = draw_widths(graph, 12, 1, seed=3)
        points, _ = measure_points(model, graph, inputs, widths, clock)
        anchors, _ = measure_anchors(model, graph, inputs, widths, SETTINGS, clock)
    more = table.extended(points, anchors, passes=7.0)
    assert more.passes == table.passes + 7.0
    assert len(more.points) == len(table.points) + 12
    measured = np.array([anchor.kept for anchor in anchors])
    errors = [np.abs(one.kept(widths) / measured - 1.0).max() for one in (table, more)]
    assert errors[1] < 1e-6 < errors[0]


@pytest.mark.parametrize("name", nets.PRUNABLE)
def test_networks_with_reused_and_coupled_layers_have_tables(name: str) -> None:
    network = nets.build(name)
    check_contract(network, nets.images(2))


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_has_tables(name: str) -> None:
    case = ATTENTION[name]
    network = Encoder(case.build()).eval()
    check_contract(network, random_images(2, TOKENS, FEATURES))


@pytest.mark.parametrize("name", ["convnext", "experts", "partial sum", "upscaled"])
def test_structures_of_images_have_tables(name: str) -> None:
    case = IMAGE[name]
    check_contract(Between(case.build(), case.channels).eval(), random_images(2, 1, 8, 8))


def check_contract(network: nn.Module, inputs: Tensor) -> None:
    graph = trace(network, inputs)
    if not graph.groups:
        return
    table = charged_table(network, graph, inputs)
    assert float(table.kept(graph.widths)) == 1.0
    kept = table.kept(np.where(graph.is_block, 1, graph.floors))
    assert 0.0 < float(kept) <= 1.0
    # Not the dense network: attention of PyTorch is replaced where heads go.
    for point in table.points[1:]:
        assert table.ms(point.widths) == pytest.approx(sum(point.ms.values()), rel=0.2)


@pytest.fixture(scope="module")
def small() -> OperatorTable:
    model, inputs = convolutions(), random_images(2, 3, 1, 1)
    with ChargedLayers(lambda layer, ins, outs: 1e-3 * ins * outs) as clock:
        return measure_table(
            model, trace(model, inputs), inputs, SETTINGS, KEY, plans=4, anchors=2, clock=clock
        )


def test_a_table_of_another_device_is_refused_by_both_names(small: OperatorTable) -> None:
    with pytest.raises(RLPruneError, match=f"measured for '{KEY}', and this is 'another'"):
        OperatorTable.from_json(small.to_json(), "another")


def test_a_table_of_another_version_is_refused(small: OperatorTable) -> None:
    document = {**json.loads(small.to_json()), "version": 0}
    with pytest.raises(RLPruneError, match="of version 0, and this rlprune reads version 1"):
        OperatorTable.from_json(json.dumps(document), KEY)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 1}', '{"version": 1, "key": 3}'])
def test_a_damaged_table_is_refused(text: str) -> None:
    with pytest.raises(RLPruneError, match="the latency table is"):
        OperatorTable.from_json(text, KEY)


def test_a_curve_passes_through_anchors_and_never_falls() -> None:
    curve = Curve([0.5, 0.25, 0.75], [0.6, 0.3, 0.8])
    assert curve([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]) == pytest.approx([0, 0.15, 0.3, 0.6, 0.8, 1])
    swapped = Curve([0.25, 0.5], [0.5, 0.3])
    assert swapped([0.25, 0.3, 0.5]) == pytest.approx([0.4, 0.4, 0.4])
    assert float(Curve([0.5], [1.2])(0.5)) == 1.0
    assert float(Curve([], [])(0.5)) == 0.5


def test_drawn_widths_begin_with_the_dense_network_and_stay_in_range(
    problem_of: GetProblem,
) -> None:
    graph = problem_of("resnet20").evaluator.graph
    widths = draw_widths(graph, 12, 8)
    assert (widths[0] == graph.widths).all()
    assert (widths >= graph.floors).all()
    assert (widths <= graph.widths).all()
    whole = (widths % np.lcm(graph.steps, 8) == 0) | (widths == graph.widths) | graph.is_block
    assert whole.all()
    assert {len(Plan.from_widths(graph, one).kept) for one in widths} == {len(graph.groups)}


def test_any_runtime_can_be_predicted() -> None:
    model, inputs = convolutions(), random_images(2, 3, 1, 1)
    settings = LatencySettings(batch_size=2, rounds=3, round_ms=0.001, runtime="onnxruntime")
    table = measure_table(model, trace(model, inputs), inputs, settings, KEY, plans=3, anchors=1)
    assert table.anchors[0].kept > 0.0
