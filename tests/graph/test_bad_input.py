"""What cannot be traced is refused before anything is done, in one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlprune.errors import ModelError, TraceError
from rlprune.graph.trace import trace
from tests import nets

Between = Callable[[Tensor], Any]


class Middle(nn.Module):
    def __init__(self, function: Between) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Chain(nn.Module):
    """Two convolutions with a module between them and one after them."""

    def __init__(self, middle: Between = F.relu, after: Between = lambda x: x) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 6, 1)
        self.middle, self.after = Middle(middle), Middle(after)
        self.head = nets.Head(6)

    def forward(self, x: Tensor) -> Any:
        return self.after(self.head(F.relu(self.second(self.middle(self.first(x))))))


BAD_MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "no parameters": (nn.ReLU, "has no parameters, so there is nothing to prune"),
    "half precision": (lambda: Chain().half(), r"float16 weights.*call model\.float\(\) first"),
    "bfloat16": (lambda: Chain().bfloat16(), r"bfloat16 weights.*call model\.float\(\) first"),
    "a single half": (
        lambda: nn.Sequential(Chain(), nn.Linear(10, 4).half()),
        r"float16 weights.*call model\.float\(\) first",
    ),
    "meta weights": (lambda: Chain().to("meta"), "meta device, without values; load its weights"),
    "data parallel": (
        lambda: nn.DataParallel(Chain()),
        r"wrapped in DataParallel; give the network inside: model\.module",
    ),
    "lazy layers": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.LazyLinear(4)),
        "lazy layers without sizes yet; run it once first",
    ),
    "lazy statistics": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.LazyBatchNorm2d()),
        "lazy layers without sizes yet; run it once first",
    ),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_model_without_usable_weights_is_refused_with_what_to_do(name: str) -> None:
    build, words = BAD_MODELS[name]
    with pytest.raises(ModelError, match=words) as caught:
        trace(build(), nets.images(2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "after", [lambda x: None, lambda x: x.shape[0], lambda x: {"logits": [None]}, lambda x: ()]
)
def test_a_model_that_returns_no_tensor_is_refused(after: Between) -> None:
    with pytest.raises(ModelError, match="returns nothing with a tensor in it; return a tensor"):
        trace(Chain(after=after), nets.images(2))


@pytest.mark.parametrize(
    "after", [lambda x: [x, None, 3], lambda x: {"logits": (x, x)}, lambda x: (x, x.argmax(1))]
)
def test_a_model_may_return_tensors_among_other_things(after: Between) -> None:
    assert trace(Chain(after=after), nets.images(2)).names == ("first", "second")


@pytest.mark.parametrize(
    "middle",
    [
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x * x.max().item(),
        lambda x: x if torch.equal(x, x * 1) else -x,
        lambda x: x[(x.sum((1, 2, 3)) > -1e9).nonzero()[:, 0]],
        lambda x: x if float(x[0, 0, 0, 0]) > 0 else -x,
        lambda x: x[:, : 8 + int(x.sum()) * 0],
    ],
)
def test_control_flow_that_depends_on_data_is_refused_by_module(middle: Between) -> None:
    with pytest.raises(TraceError, match="the forward of 'middle' reads values of its") as caught:
        trace(Chain(middle), nets.images(2))
    assert "keep such decisions outside the model" in str(caught.value)


def test_control_flow_of_the_model_itself_is_refused_too() -> None:
    class Decides(Chain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1 if x.mean() > 0 else 2)

    with pytest.raises(TraceError, match="the forward of 'the model' reads values of its input"):
        trace(Decides(), nets.images(2))


@pytest.mark.parametrize("depends_on", ["weight", "shape", "selection"])
def test_other_decisions_are_no_control_flow(depends_on: str) -> None:
    class Decides(Chain):
        def forward(self, x: Tensor) -> Tensor:
            if depends_on == "weight" and float(self.first.weight.sum()) > 1e9:
                return -super().forward(x)
            if depends_on == "shape" and len(x) > 1000:
                return -super().forward(x)
            if depends_on == "selection":
                x = torch.where(x > 0, x, x.exp())
            return super().forward(x)

    assert trace(Decides(), nets.images(2)).names == ("first", "second")


@pytest.mark.parametrize("inputs", [(nets.images(2), 3), {"picture": nets.images(2)}])
def test_inputs_that_the_forward_does_not_take_are_refused(inputs: Any) -> None:
    with pytest.raises(ModelError, match="does not run on an input of shape"):
        trace(Chain(), inputs)


def test_a_tuple_gives_positional_and_a_dict_keyword_arguments() -> None:
    expected = trace(Chain(), nets.images(2)).names
    assert trace(Chain(), (nets.images(2),)).names == expected
    assert trace(Chain(), {"x": nets.images(2)}).names == expected
    keywords = {"image": nets.images(2), "scale": torch.ones(2, 1)}
    assert trace(nets.Keywords(Chain()), keywords).names == tuple(
        f"network.{name}" for name in expected
    )


@pytest.mark.parametrize("build", [lambda: Chain().double(), Chain])
def test_one_sample_and_double_precision_are_enough(build: Callable[[], nn.Module]) -> None:
    model = build()
    sample = nets.images(1).to(model.first.weight.dtype)
    assert trace(model, sample).names == ("first", "second")


def test_a_refused_model_is_left_as_it_was() -> None:
    model = Chain(lambda x: x if x.sum() > 0 else -x).train()
    with pytest.raises(TraceError):
        trace(model, nets.images(2))
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(
        type(value) is int
        for value in (model.second.in_channels, model.head.classifier.in_features)
    )
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.is_grad_enabled()


def test_an_example_that_makes_the_model_return_nan_is_refused() -> None:
    with pytest.raises(ModelError, match="NaN or infinity on the example input"):
        trace(Chain(), nets.images(2) * float("nan"))
