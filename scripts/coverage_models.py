"""Architectures of the coverage benchmark, with random weights that all matter."""

from __future__ import annotations

from typing import Any

import torch
from coverage_report import Family
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

from rlprune.calling import call, tensors_in
from rlprune.errors import FOREIGN_ERRORS
from rlprune.models._torchvision import require_timm, require_torchvision
from rlprune.models.registry import build_model

TIMM = """
resnet10t resnet26d resnet50d resnext50_32x4d seresnet50 ecaresnet26t skresnet18 res2net50_26w_4s
resnest14d resnetv2_50 resnetrs50 regnetx_008 regnety_008 regnetz_b16 densenet121 dla34 vovnet39a
ese_vovnet19b_dw cspresnet50 cspdarknet53 darknet53 dpn68 selecsls42b xception41 inception_v3
inception_v4 inception_resnet_v2 inception_next_tiny efficientnet_b0 efficientnet_lite0
tf_efficientnetv2_b0 efficientnetv2_rw_t mixnet_s mnasnet_100 fbnetc_100 spnasnet_100 lcnet_050
mobilenetv1_100 mobilenetv2_100 mobilenetv3_small_100 mobilenetv4_conv_small
mobilenetv4_hybrid_medium mobilenet_edgetpu_v2_xs ghostnet_100 ghostnetv2_100 repvgg_a0 mobileone_s0
repghostnet_050 hardcorenas_a tinynet_a rexnet_100 hrnet_w18_small convnext_atto convnextv2_atto
nf_resnet50 dm_nfnet_f0 nfnet_l0 gernet_s vgg11_bn hgnet_tiny hgnetv2_b0 fasternet_t0 starnet_s1
rdnet_tiny vit_tiny_patch16_224 vit_small_patch32_224 deit_tiny_patch16_224
deit3_small_patch16_224 beit_base_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swin_s3_tiny_224 pit_ti_224 levit_128s
crossvit_tiny_240 coat_tiny tnt_s_patch16_224 twins_pcpvt_small twins_svt_small pvt_v2_b0
mvitv2_tiny mobilevit_xxs mobilevitv2_050 maxvit_tiny_rw_224 coatnet_nano_rw_224 edgenext_xx_small
efficientformer_l1 efficientformerv2_s0 eva02_tiny_patch14_224 davit_tiny gcvit_xxtiny nest_tiny
volo_d1_224 visformer_tiny convit_tiny poolformer_s12 poolformerv2_s12 caformer_s18 convformer_s18
mixer_s32_224 resmlp_12_224 gmlp_ti16_224 gmixer_12_224 sequencer2d_s focalnet_tiny_srf fastvit_t8
repvit_m0_9 tiny_vit_5m_224 hiera_tiny_224 efficientvit_b0 efficientvit_m0 convmixer_768_32
vit_relpos_small_patch16_224 flexivit_small sehalonet33ts halonet26t lambda_resnet26t botnet26t_256
nextvit_small shvit_s1 swiftformer_xs mambaout_femto vit_base_patch16_siglip_224
naflexvit_base_patch16_gap
""".split()
"""One architecture of every family of timm, small where there is a choice."""

QUICK = (
    "torchvision:resnet18",
    "torchvision:mobilenet_v3_small",
    "timm:lcnet_050",
    "timm:vit_tiny_patch16_224",
)

SIZES = (64, 96, 128, 160, 192, 224)
CHANNELS, CLASSES, SEED = 3, 1000, 0


def every_model() -> list[str]:
    """Return all architectures of the benchmark."""
    models = require_torchvision().models
    torchvision = [f"torchvision:{name}" for name in models.list_models(module=models)]
    return [*torchvision, *(f"timm:{name}" for name in TIMM)]


def build(spec: str, image_size: int) -> nn.Module:
    """Build the architecture with random weights."""
    torch.manual_seed(SEED)
    return build_model(
        spec, in_channels=CHANNELS, num_classes=CLASSES, image_size=image_size
    ).eval()


def default_size(spec: str) -> tuple[int, bool]:
    """Return the side of the images that an architecture is meant for, and if it takes no other."""
    source, _, name = spec.partition(":")
    if source == "timm":
        config = require_timm().get_pretrained_cfg(name)
        return int(config.input_size[-1]), bool(getattr(config, "fixed_input_size", False))
    builder = require_torchvision().models.get_model_builder(name)
    return 224, name.startswith(("vit_", "maxvit_")) or "image_size" in builder.__annotations__


def images(count: int, size: int, seed: int = 1) -> Tensor:
    """Return noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, CHANNELS, size, size, generator=generator)


def outputs(model: nn.Module, batch: Tensor) -> list[Tensor]:
    """Return what a network computes."""
    with torch.no_grad():
        return [t for t in tensors_in(call(model, batch)) if t.is_floating_point()]


def smallest_network(spec: str) -> tuple[nn.Module, int]:
    """Build an architecture and find the smallest images that it takes."""
    default, fixed = default_size(spec)
    model = build(spec, default)
    unsettle(model)
    sizes = [default] if fixed else sorted({*(s for s in SIZES if s < default), default})
    for size in sizes[:-1]:
        try:
            if all(bool(t.isfinite().all()) for t in outputs(model, images(2, size))):
                return model, size
        except FOREIGN_ERRORS:
            continue
    return model, default


@torch.no_grad()
def unsettle(model: nn.Module) -> None:
    """Make every parameter matter: untrained networks begin with neutral or tiny values."""
    torch.manual_seed(SEED)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            assert module.running_var is not None  # noqa: S101 - both or neither
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            if module.affine:
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0.0, 0.1)
    for name, parameter in model.named_parameters():
        lowest, highest = float(parameter.min()), float(parameter.max())
        most = max(-lowest, highest)
        line = sum(size > 1 for size in parameter.shape) <= 1
        if "bias" in name.rpartition(".")[2]:
            if most < 1e-3:
                parameter.normal_(0.0, 0.1)
        elif line and lowest == highest and most < 0.2:  # the scale of a layer or a branch
            parameter.uniform_(0.5, 1.5)
        elif most < 1e-3:
            parameter.normal_(0.0, 0.02)


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notices products of two activations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        if name in ("bmm", "baddbmm"):
            factors = [t if t._base is None else t._base for t in tensors_in(args)[-2:]]
            self.found |= not any(isinstance(t, nn.Parameter) for t in factors)
        self.found |= name.startswith(("_scaled_dot_product", "_native_multi_head_attention"))
        self.found |= name.startswith("_transformer_encoder_layer")
        return func(*args, **(kwargs or {}))


def family_of(model: nn.Module, batch: Tensor) -> Family:
    """Tell convolutional networks from networks of tokens.

    Those multiply activations with one another (attention) or have no convolution whose windows
    overlap (mixers); all others are convolutional.
    """
    with _Products() as products:
        outputs(model, batch)
    overlaps = any(
        any(k > s for k, s in zip(m.kernel_size, m.stride, strict=True))
        for m in model.modules()
        if isinstance(m, _ConvNd)
    )
    return "transformer" if products.found or not overlaps else "convolutional"
