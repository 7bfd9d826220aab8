"""Which tensor dimensions a layer's input and output channels live in."""

from __future__ import annotations

from torch import nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# They mix channels, with or without parameters of their own.
_GROUPING_NORMS = (nn.GroupNorm, nn.LayerNorm)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)

COUNTED = (*_CONVOLUTIONS, nn.Linear)


def is_depthwise(module: nn.Module) -> bool:
    """True for convolutions with one filter per channel."""
    return (
        isinstance(module, _CONVOLUTIONS)
        and module.groups > 1
        and module.groups == module.in_channels == module.out_channels
    )


def unsupported_reason(module: nn.Module) -> str | None:
    """Return why the channels of this layer cannot be removed, or None if they can."""
    kind = type(module).__name__
    if isinstance(module, _CONVOLUTIONS) and module.groups > 1 and not is_depthwise(module):
        return f"grouped convolution ({kind}, groups={module.groups}) is not supported"
    if isinstance(module, _GROUPING_NORMS):
        return f"{kind} is not supported"
    supported = (*COUNTED, *_NORMS, nn.PReLU)
    if isinstance(module, nn.Parameter):
        return "a free parameter (nn.Parameter used outside a layer) is not supported"
    if not isinstance(module, supported) and any(True for _ in module.parameters(recurse=False)):
        return f"{kind} is not supported"
    return None


def output_dims(module: nn.Module) -> dict[str, int]:
    """Return `{tensor: dim}` of the output channels of a supported layer."""
    if isinstance(module, _TRANSPOSED) and not is_depthwise(module):
        dims = {"weight": 1, "bias": 0}
    elif isinstance(module, COUNTED):
        dims = {"weight": 0, "bias": 0}
    elif isinstance(module, _NORMS):
        dims = {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 0}
    elif isinstance(module, nn.PReLU) and module.num_parameters > 1:
        dims = {"weight": 0}
    else:
        dims = {}
    return {name: dim for name, dim in dims.items() if getattr(module, name, None) is not None}


def input_dims(module: nn.Module) -> dict[str, int]:
    """Return `{tensor: dim}` of the input channels; layers that mix no channels have none."""
    if isinstance(module, COUNTED) and not is_depthwise(module):
        return {"weight": 0 if isinstance(module, _TRANSPOSED) else 1}
    return {}


def set_sizes(module: nn.Module, was_depthwise: bool) -> None:
    """Make a layer's integer attributes agree with the shapes of its tensors.

    Args:
        module: a layer whose tensors have just been replaced.
        was_depthwise: whether the dense layer had one filter per channel.
    """
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _CONVOLUTIONS):
        first, second = module.weight.shape[:2]
        if was_depthwise:
            module.groups = module.in_channels = module.out_channels = first
        elif isinstance(module, _TRANSPOSED):
            module.in_channels, module.out_channels = first, second * module.groups
        else:
            module.out_channels, module.in_channels = first, second * module.groups
    elif isinstance(module, _NORMS) and module.running_mean is not None:
        module.num_features = module.running_mean.shape[0]
    elif isinstance(module, _NORMS) and module.weight is not None:
        module.num_features = module.weight.shape[0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.shape[0]
