"""A plain chain of convolutions: the simplest network with something to prune."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

_STAGES = ((16, 16), (32, 32), (64,))


class ConvNet(nn.Module):
    """Stages of convolution, BatchNorm and ReLU; the image is halved between them.

    Args:
        stages: channels of the convolutions of each stage.
        in_channels: of the images.
        outputs: of the linear layer at the end.
        kernels: one size, odd, for each stage; 3 when not given.
        is_strided: whether the first convolution of a stage halves the image, not max pooling.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[int]],
        in_channels: int,
        outputs: int,
        kernels: Sequence[int] | None = None,
        is_strided: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        sizes = kernels or [3] * len(stages)
        for number, (stage, kernel) in enumerate(zip(stages, sizes, strict=True)):
            if number > 0 and not is_strided:
                layers.append(nn.MaxPool2d(2))
            for index, out_width in enumerate(stage):
                stride = 2 if is_strided and number > 0 and index == 0 else 1
                layers.append(
                    nn.Conv2d(width, out_width, kernel, stride, padding=kernel // 2, bias=False)
                )
                layers += [nn.BatchNorm2d(out_width), nn.ReLU()]
                width = out_width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return logits


def plain_cnn(in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build five convolutions of 16, 16, 32, 32 and 64 channels."""
    return ConvNet(_STAGES, in_channels, num_classes)
