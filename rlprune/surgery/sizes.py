"""Sizes that PyTorch's own layers keep beside the shapes of their tensors."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from rlprune.surgery.attention import HeadAttention


def set_sizes(module: nn.Module) -> None:
    """Make a layer's attributes agree with the shapes of its tensors, which were just replaced.

    Args:
        module: a layer that still has its dense attributes.
    """
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _ConvNd):
        _set_convolution(module)
    elif isinstance(module, _NormBase):
        tensor = module.running_mean if module.weight is None else module.weight
        module.num_features = module.num_features if tensor is None else len(tensor)
    elif isinstance(module, nn.GroupNorm) and module.affine:
        per_group = module.num_channels // module.num_groups
        module.num_channels = len(module.weight)
        if module.num_groups > 1:
            module.num_groups = module.num_channels // per_group
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, nn.MultiheadAttention):
        HeadAttention.adopt(module)
    elif isinstance(getattr(module, "normalized_shape", None), tuple):
        weight = getattr(module, "weight", None)
        if weight is not None:
            module.normalized_shape = tuple(weight.shape)  # type: ignore[assignment]


def _set_convolution(module: _ConvNd) -> None:
    first, second = module.weight.shape[:2]
    if isinstance(module, _ConvTransposeNd):
        per_group = module.in_channels // module.groups
        module.groups = first // per_group if module.groups > 1 else 1
        module.in_channels, module.out_channels = first, second * module.groups
    else:
        per_group = module.out_channels // module.groups
        module.groups = first // per_group if module.groups > 1 else 1
        module.out_channels, module.in_channels = first, second * module.groups
