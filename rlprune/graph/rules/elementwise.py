"""Operations that treat every element alike, and those that make new tensors."""

from __future__ import annotations

from collections.abc import Sequence

from rlprune.graph.labels import (
    Factors,
    aligned,
    elementwise,
)
from rlprune.graph.rules.call import (
    Call,
    rule,
)


@rule(
    "add sub rsub mul div addcmul addcdiv pow maximum minimum where lerp fmod remainder clamp "
    "clamp_min clamp_max relu relu6 gelu silu sigmoid tanh hardtanh hardswish hardsigmoid "
    "leaky_relu elu celu selu mish softplus hardshrink softshrink softsign log_sigmoid_forward "
    "exp exp2 expm1 log log2 log1p sqrt rsqrt reciprocal neg abs square sin cos tan erf floor ceil "
    "round sign trunc sgn atan atan2 logit threshold nan_to_num masked_fill native_dropout dropout "
    "bernoulli bitwise_not bitwise_and bitwise_or logical_not logical_and logical_or eq ne lt le "
    "gt ge isnan isinf isfinite copy fill zero zeros_like ones_like full_like empty_like rand_like "
    "randn_like _to_copy clone alias detach contiguous lift_fresh tril triu rrelu_with_noise "
    "special_expm1 _prelu_kernel _conj"
)
def follow_elementwise(call: Call) -> Sequence[Factors]:
    """Tie all operands element by element."""
    if call.name == "_prelu_kernel":
        operands = [call.args[0], call.args[1]]
    else:
        operands = call.tensors
    pairs = [(call.lookup(t), tuple(t.shape)) for t in operands]
    ndim = call.outputs[0].ndim
    factors = elementwise(call.ties, pairs)
    return [tuple(aligned(f, ndim) for f in factors)] * len(call.outputs)


@rule("new_zeros new_ones new_full new_empty new_empty_strided")
def _new(call: Call) -> Sequence[Factors]:
    return [()]
