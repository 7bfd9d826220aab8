"""nn.MultiheadAttention with fewer heads than its width would have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HeadAttention(nn.MultiheadAttention):
    """Multi-head attention whose heads keep their size while their number shrinks.

    PyTorch's own layer derives the size of a head from the width of the residual stream, so it
    cannot lose a head without losing width. Parameters have the same names; `num_heads` says how
    many heads there are, `head_dim` how large each is.
    """

    head_dim: int

    @staticmethod
    def adopt(module: nn.MultiheadAttention) -> None:
        """Turn a layer that has lost heads or width into a `HeadAttention`, in place."""
        width, rows = module.out_proj.weight.shape
        if module.in_proj_weight is not None:
            inputs = (module.in_proj_weight.shape[1],) * 3
        else:
            projections = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
            inputs = tuple(weight.shape[1] for weight in projections)
        if (rows, width, *inputs) == (module.embed_dim,) * 3 + (module.kdim, module.vdim):
            return
        module.num_heads = rows // module.head_dim
        module.embed_dim, module.kdim, module.vdim = width, inputs[1], inputs[2]
        # nn.TransformerEncoderLayer asks this before calling a kernel that splits heads wrongly
        module._qkv_same_embed_dim = False
        module.__class__ = HeadAttention

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; arguments and results are those of `nn.MultiheadAttention`."""
        # Sizes are named only inside: a pruned model around this layer counts its own calls.
        with torch._C.DisableTorchFunction():
            batched = query.ndim == 3
            tensors = [t if batched else t.unsqueeze(0) for t in (query, key, value)]
            if batched and not self.batch_first:
                tensors = [t.transpose(0, 1) for t in tensors]
            q, k, v = (
                _heads(F.linear(tensor, *projection), self.head_dim)
                for tensor, projection in zip(tensors, self._projections(), strict=True)
            )
            mask = _joined(attn_mask, key_padding_mask, q, batched=batched)
            if need_weights:
                scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5
                weights = (scores if mask is None else scores + mask).softmax(-1)
                if self.training and self.dropout:
                    weights = F.dropout(weights, self.dropout)
                attended = weights @ v
            else:
                weights = None
                dropout = self.dropout if self.training else 0.0
                attended = F.scaled_dot_product_attention(q, k, v, mask, dropout)
            output = self.out_proj(attended.transpose(1, 2).flatten(2))
            if batched and not self.batch_first:
                output = output.transpose(0, 1)
            if weights is not None and average_attn_weights:
                weights = weights.mean(1)
            if not batched:
                output = output.squeeze(0)
                weights = None if weights is None else weights.squeeze(0)
            return output, weights

    def _projections(self) -> list[tuple[Tensor, Tensor | None]]:
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return list(zip(weights, biases, strict=True))


def _heads(tensor: Tensor, head_dim: int) -> Tensor:
    batch, tokens, _ = tensor.shape
    return tensor.reshape(batch, tokens, -1, head_dim).transpose(1, 2)


def _joined(
    mask: Tensor | None, padding: Tensor | None, query: Tensor, *, batched: bool
) -> Tensor | None:
    """Join both masks into one that is added to the scores; shape broadcastable to them."""
    joined: Tensor | None = None
    if mask is not None:
        if mask.ndim == 3:
            mask = mask.reshape(len(query), -1, *mask.shape[1:])
        joined = _added(mask, query)
    if padding is not None:
        padding = padding if batched else padding.unsqueeze(0)
        extra = _added(padding, query)[:, None, None, :]
        joined = extra if joined is None else joined + extra
    return joined


def _added(mask: Tensor, query: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=query.dtype).masked_fill(mask, -torch.inf)
