"""Architectures of a pool as data: frozen, checked, and the same in every process."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from rlprune.errors import ModelError, first_fault

Count = Annotated[int, Field(ge=1)]
Kernel = Literal[1, 3, 5, 7]
Stride = Literal[1, 2]
Many = Annotated[tuple[Count, ...], Field(min_length=1)]

DEPTHS = {"shallow": 8, "medium": 16, "deep": None}
"""Names of depths, with the most layers that they stand for."""


class Spec(BaseModel):
    """What all families share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    @abstractmethod
    def depth(self) -> int:
        """Convolutions and linear layers between the image and the logits, shortcuts apart."""

    @property
    def depth_name(self) -> str:
        """One of `DEPTHS`."""
        return next(name for name, most in DEPTHS.items() if most is None or self.depth <= most)


class PlainSpec(Spec):
    """A chain of convolutions; see `rlprune.models.plain_cnn.ConvNet`.

    Attributes:
        stages: channels of the convolutions; the image is halved between stages.
        kernels: one size for each stage.
        is_strided: whether a convolution halves the image, not max pooling.
    """

    family: Literal["plain"] = "plain"
    stages: Annotated[tuple[Many, ...], Field(min_length=1)]
    kernels: tuple[Kernel, ...]
    is_strided: bool

    @property
    def depth(self) -> int:
        """See `Spec.depth`."""
        return sum(map(len, self.stages)) + 1

    @model_validator(mode="after")
    def _one_kernel_a_stage(self) -> PlainSpec:
        if len(self.kernels) != len(self.stages):
            raise ValueError(f"{len(self.kernels)} kernels for {len(self.stages)} stages")
        return self


class VGGSpec(Spec):
    """Stages of equally wide convolutions and a hidden linear layer; see `rlprune.models.vgg.VGG`.

    Attributes:
        convolutions: of each stage.
        widths: channels of each stage.
        kernels: one size for each stage.
        hidden: width of the linear layer.
    """

    family: Literal["vgg"] = "vgg"
    convolutions: Many
    widths: Many
    kernels: tuple[Kernel, ...]
    hidden: Count

    @property
    def depth(self) -> int:
        """See `Spec.depth`."""
        return sum(self.convolutions) + 2

    @model_validator(mode="after")
    def _one_entry_a_stage(self) -> VGGSpec:
        if not len(self.convolutions) == len(self.widths) == len(self.kernels):
            raise ValueError("convolutions, widths and kernels are of different numbers of stages")
        return self


class ResidualSpec(Spec):
    """Basic or bottleneck blocks; see `rlprune.models.resnet.ResNet`.

    Attributes:
        blocks: of each stage.
        widths: channels of each stage.
        strides: of the first block of each stage.
        kernel: size of the convolutions.
        inner: channels inside the bottleneck blocks of each stage; None has basic blocks.
    """

    family: Literal["residual"] = "residual"
    blocks: Many
    widths: Many
    strides: tuple[Stride, ...]
    kernel: Kernel
    inner: Many | None

    @property
    def depth(self) -> int:
        """See `Spec.depth`."""
        return sum(self.blocks) * (2 if self.inner is None else 3) + 2

    @model_validator(mode="after")
    def _one_entry_a_stage(self) -> ResidualSpec:
        inner = self.widths if self.inner is None else self.inner
        if not len(self.blocks) == len(self.widths) == len(self.strides) == len(inner):
            raise ValueError("blocks, widths, strides and inner are of different numbers of stages")
        return self


class DenseSpec(Spec):
    """Layers that append to their input; see `rlprune.models.densenet.DenseNet`.

    Attributes:
        stem: channels of the first convolution.
        growth: channels that each layer appends.
        layers: of each block; the image is halved between blocks.
        kernel: size of the convolutions.
        squeezed: channels of the 1 x 1 convolution in each layer; 0 has none.
        transition_kept: fraction of the channels that a transition leaves.
    """

    family: Literal["dense"] = "dense"
    stem: Count
    growth: Count
    layers: Many
    kernel: Kernel
    squeezed: Annotated[int, Field(ge=0)]
    transition_kept: Annotated[float, Field(gt=0, le=1)]

    @property
    def depth(self) -> int:
        """See `Spec.depth`."""
        return sum(self.layers) * (2 if self.squeezed else 1) + len(self.layers) + 1


class DepthwiseSpec(Spec):
    """Inverted residuals; see `rlprune.models.mobilenetv2.MobileNetV2`.

    Attributes:
        stages: expansion, channels, blocks and stride of the first block of each.
        stem: channels of the first convolution.
        last: channels of the last one.
        kernel: size of the depthwise convolutions.
        has_shortcuts: whether blocks are added to their inputs.
    """

    family: Literal["depthwise"] = "depthwise"
    stages: Annotated[tuple[tuple[Count, Count, Count, Stride], ...], Field(min_length=1)]
    stem: Count
    last: Count
    kernel: Kernel
    has_shortcuts: bool

    @property
    def depth(self) -> int:
        """See `Spec.depth`."""
        return sum(n * (2 if expansion == 1 else 3) for expansion, _, n, _ in self.stages) + 3


class MLPSpec(Spec):
    """Linear layers; see `rlprune.models.mlp.MLP`.

    Attributes:
        hidden: widths of the hidden layers.
    """

    family: Literal["mlp"] = "mlp"
    hidden: Many

    @property
    def depth(self) -> int:
        """See `Spec.depth`."""
        return len(self.hidden) + 1


SampledSpec: TypeAlias = Annotated[
    PlainSpec | VGGSpec | ResidualSpec | DenseSpec | DepthwiseSpec | MLPSpec,
    Field(discriminator="family"),
]

_READER: TypeAdapter[SampledSpec] = TypeAdapter(SampledSpec)


def read_spec(text: str) -> SampledSpec:
    """Read what `Spec.model_dump_json` wrote.

    Raises:
        ModelError: for anything else.
    """
    try:
        return _READER.validate_json(text)
    except ValidationError as error:
        raise ModelError(
            f"{text!r} describes no network of a pool ({first_fault(error)}); give the spec as "
            "the pool holds it"
        ) from error
