"""What is special about removing heads and blocks of transformers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rlprune.graph.trace import trace
from tests.oracles import assert_exact, outputs, plans, random_plan
from tests.surgery.attention_nets import (
    FEATURES,
    HEADS,
    TOKENS,
    WIDTH,
    Encoder,
    Fused,
    MultiQuery,
    TalkingHeads,
)


def tokens(n: int = 5) -> Tensor:
    return torch.randn(n, TOKENS, FEATURES, generator=torch.Generator().manual_seed(1))


class Attending(nn.Module):
    """nn.MultiheadAttention without a residual, so that its input has a width of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.tanh(self.embed(x))
        x, weights = self.attention(x, x, x, average_attn_weights=False)
        return self.head(x.mean(1)), weights


class DropsInTraining(Fused):
    """In training, samples are dropped by a call that evaluation does not make."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x * torch.ones(len(x)).view(-1, 1, 1)
        return super().forward(x)


def test_an_attention_that_returns_its_weights_keeps_its_heads_but_not_its_width() -> None:
    model = Attending().eval()
    graph = trace(model, tokens(2))
    assert graph.names == ("embed", "attention.out_proj")
    for plan in plans(graph):
        assert_exact(model, plan, tokens())


def test_calls_that_only_training_makes_do_not_change_what_is_computed() -> None:
    torch.manual_seed(0)
    model = Encoder(DropsInTraining()).eval()
    plan = random_plan(trace(model, tokens(2)), 1)
    small = plan.apply(model)
    assert plan.widths.tolist() != plan.graph.widths.tolist()
    evaluated = outputs(small, tokens())
    torch.testing.assert_close(outputs(small.train(), tokens()), evaluated)


def test_only_whole_heads_are_called_heads() -> None:
    graph = trace(Encoder(MultiQuery()).eval(), tokens(2))
    assert all(group.kind == "channels" for group in graph.groups)
    graph = trace(Encoder(Fused()).eval(), tokens(2))
    assert [group.kind for group in graph.groups] == ["heads"]
    assert graph.groups[0].floor == graph.groups[0].step == 6


def test_a_layer_that_adds_its_bias_is_no_block() -> None:
    graph = trace(Encoder(TalkingHeads()).eval(), tokens(2))
    assert not any("(block)" in item.name for item in graph.left_out)


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, TOKENS, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


def test_adding_positions_is_no_block() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, WIDTH), Positions(), nn.Linear(WIDTH, 3)).eval()
    assert trace(model, tokens(2)).names == ("0",)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_keeps_its_channels_by_name(kind: type[nn.RNNBase]) -> None:
    model = nn.Sequential(nn.Linear(FEATURES, WIDTH), kind(WIDTH, WIDTH, batch_first=True)).eval()
    graph = trace(model, tokens(2))
    assert graph.groups == ()
    reasons = {item.name: item.reason for item in graph.left_out}
    assert reasons["0"] == f"a recurrent layer ({kind.__name__}) keeps its channels: '1'"
    assert trace(model[1], torch.randn(2, TOKENS, WIDTH)).groups == ()
