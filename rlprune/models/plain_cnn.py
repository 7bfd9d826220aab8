"""A plain chain of convolutions: the simplest network with something to prune."""

from __future__ import annotations

from torch import Tensor, nn

_STAGES = ((16, 16), (32, 32), (64,))


class ConvNet(nn.Module):
    """Stages of convolution, BatchNorm and ReLU with max pooling between them."""

    def __init__(self, stages: tuple[tuple[int, ...], ...], in_channels: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        for index, stage in enumerate(stages):
            if index > 0:
                layers.append(nn.MaxPool2d(2))
            for out_width in stage:
                layers.append(nn.Conv2d(width, out_width, 3, padding=1, bias=False))
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
